//! `forewarn runs`: what the weekly job did, and what it took.

use forewarn_models::{RunLog, runs};
use forewarn_schema::{RunRecord, RunStep, RunStepOutcome, format_duration};
use forewarn_storage::Store;
use serde_json::json;

use crate::cli::Runs;
use crate::config::Config;
use crate::outcome::Outcome;

pub(super) async fn runs(config: &Config, arguments: &Runs) -> anyhow::Result<Outcome> {
    let log = RunLog::new(Store::open(&config.store_url)?);
    let mut records = log.all().await?;
    records.truncate(arguments.last);
    let text = if records.is_empty() {
        "no run yet; `forewarn run` does one, `forewarn schedule` one a week\n".to_owned()
    } else {
        records.iter().map(row).collect()
    };
    Ok(Outcome::new(text, json!({ "runs": records })))
}

/// `20260111T030000Z  done  2026-01-11T03:04:10Z  4m10s  cpu 71 s  pull, train, …`
fn row(record: &RunRecord) -> String {
    let failed = record.steps.iter().find(|step| step.outcome == RunStepOutcome::Failed);
    let state = match (runs::is_done(record), failed, record.finished_at) {
        (true, ..) => "done".to_owned(),
        (false, Some(step), _) => format!("failed at {}", step.name),
        // Whether its process lives, the record does not know.
        (false, None, _) => match record.steps.last() {
            Some(step) => format!("at {}", step.name),
            None => "begun".to_owned(),
        },
    };
    let took = record.finished_at.map_or_else(String::new, |end| {
        let seconds = end.seconds_since(record.started_at).max(0.0).round();
        format!("  took {}", format_duration(std::time::Duration::from_secs_f64(seconds)))
    });
    let cpu: f64 = record.steps.iter().filter_map(|step| step.cpu_seconds).sum();
    let mut text = format!("{}  {state}  began {}{took}  cpu {cpu:.1} s\n", record.id, record.started_at);
    for step in &record.steps {
        text.push_str(&step_row(step));
    }
    text
}

fn step_row(step: &RunStep) -> String {
    let cpu = step.cpu_seconds.map_or_else(String::new, |cpu| format!("  cpu {cpu:.1} s"));
    let said = match (step.outcome, step.detail.get("error").and_then(|e| e.as_str())) {
        (RunStepOutcome::Failed, Some(error)) => format!("  {error}"),
        _ => String::new(),
    };
    let outcome = match step.outcome {
        RunStepOutcome::Running => "began",
        RunStepOutcome::Done => "done",
        RunStepOutcome::Failed => "failed",
    };
    format!("    {:<9} {outcome}{cpu}{said}\n", step.name)
}
