//! `forewarn score`: an anomaly score for every row of a CSV, written as it is read. Row i is scored from
//! rows up to i only, so the file may as well be a stream.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use anyhow::{Context as _, bail};
use chrono::NaiveDateTime;
use forewarn_models::anomaly::{ALARM_LEVEL, AnomalyScorer};
use forewarn_schema::Timestamp;
use serde_json::json;

use super::csv::NumberRows;
use crate::cli::Score;
use crate::outcome::Outcome;

pub(super) fn score(arguments: &Score) -> anyhow::Result<Outcome> {
    let mut rows = NumberRows::open(&arguments.input, 1)?;
    let columns = rows.header().len() - 1;
    let mut scorer = AnomalyScorer::new(columns);
    if let Some(train_rows) = arguments.train_rows {
        scorer = scorer.learning_from_the_first(usize::try_from(train_rows).unwrap_or(usize::MAX));
    }
    let cannot_write = || format!("cannot write {}", arguments.out.display());
    let mut out = BufWriter::new(File::create(&arguments.out).with_context(cannot_write)?);
    writeln!(out, "{},anomaly_score", rows.header()[0]).with_context(cannot_write)?;
    let (mut written, mut alarms) = (0u64, 0u64);
    let mut highest: Option<(f64, String)> = None;
    while let Some(row) = rows.next_row()? {
        let time = row.text.into_iter().next().unwrap_or_default();
        if !is_time(&time) {
            let place = rows.place(0);
            bail!("{place}: wanted a time (Unix seconds, RFC 3339 or YYYY-MM-DD HH:MM:SS), got {time:?}");
        }
        let score = scorer.push(&row.numbers);
        // Nine decimals keep the order of all but the highest of scores.
        writeln!(out, "{time},{score:.9}").with_context(cannot_write)?;
        written += 1;
        alarms += u64::from(score >= ALARM_LEVEL);
        if highest.as_ref().is_none_or(|(best, _)| score > *best) {
            highest = Some((score, time));
        }
    }
    out.flush().with_context(cannot_write)?;
    let highest_text = match &highest {
        Some((score, time)) => format!("; {alarms} reach {ALARM_LEVEL}; the highest is {score:.4} at {time}"),
        None => String::new(),
    };
    let out_path = arguments.out.display().to_string();
    Ok(Outcome::new(
        format!("{written} rows of {columns} columns scored into {out_path}{highest_text}"),
        json!({
            "rows": written,
            "columns": columns,
            "out": out_path,
            "alarm_level": ALARM_LEVEL,
            "alarms": alarms,
            "highest": highest.map(|(score, time)| json!({"anomaly_score": score, "time": time})),
        }),
    ))
}

/// The score does not depend on the time, but a field that is none tells of a column in the wrong place.
fn is_time(text: &str) -> bool {
    const LOCAL: [&str; 4] = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"];
    text.parse::<Timestamp>().is_ok() || LOCAL.iter().any(|form| NaiveDateTime::parse_from_str(text, form).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_other_text() {
        for time in ["1704067200", "1704067200.5", "2018-04-25T00:00:00Z", "2015-02-26 21:42:53", "2015-02-26 21:42"] {
            assert!(is_time(time), "{time}");
        }
        for text in ["", "yesterday", "12:00", "2015-02-30 00:00:00", "NaN"] {
            assert!(!is_time(text), "{text}");
        }
    }
}
