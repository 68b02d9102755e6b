//! `forewarn score`: an anomaly score for every row of a CSV, written as it is read. Row i is scored from
//! rows up to i only, so the file may as well be a stream.

mod online;

use std::fs::File;
use std::io::{BufWriter, Write as _};

use anyhow::Context as _;
use serde_json::json;

use super::csv::NumberRows;
use crate::cli::Score;
use crate::outcome::Outcome;
use online::OnlineScorer;

pub(super) fn score(arguments: &Score) -> anyhow::Result<Outcome> {
    let mut rows = NumberRows::open(&arguments.input, 1)?;
    let columns = rows.header().len() - 1;
    let train_rows = arguments.train_rows.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let mut scorer = OnlineScorer::new(columns, train_rows);
    let cannot_write = || format!("cannot write {}", arguments.out.display());
    let mut out = BufWriter::new(File::create(&arguments.out).with_context(cannot_write)?);
    writeln!(out, "{},anomaly_score", rows.header()[0]).with_context(cannot_write)?;
    let mut written = 0u64;
    let mut highest: Option<(f64, String)> = None;
    while let Some(row) = rows.next_row()? {
        let score = scorer.push(&row.numbers)?;
        let time = row.text.into_iter().next().unwrap_or_default();
        // Nine decimals hold every difference that the calibration can make.
        writeln!(out, "{time},{score:.9}").with_context(cannot_write)?;
        written += 1;
        if highest.as_ref().is_none_or(|(best, _)| score > *best) {
            highest = Some((score, time));
        }
    }
    out.flush().with_context(cannot_write)?;
    let highest_text = match &highest {
        Some((score, time)) => format!("; the highest is {score:.4} at {time}"),
        None => String::new(),
    };
    let out_path = arguments.out.display().to_string();
    Ok(Outcome::new(
        format!("{written} rows of {columns} columns scored into {out_path}{highest_text}"),
        json!({
            "rows": written,
            "columns": columns,
            "out": out_path,
            "highest": highest.map(|(score, time)| json!({"anomaly_score": score, "time": time})),
        }),
    ))
}
