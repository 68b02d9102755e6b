//! What the commands do with sources of logs besides what they do with all: `pull` counts new lines first, `check` looks at
//! the newest objects.

use anyhow::Context as _;
use forewarn_datasets::{LogsOptions, LogsSource, LogsSummary, LogsSurvey, SampleSource};
use serde_json::{Value, json};

use crate::config::{Source, human_bytes};

/// Services that `check` names; the others it counts.
const NAMED_SERVICES: usize = 12;

/// How its lines are read.
pub(super) fn options(source: &Source) -> LogsOptions {
    let defaults = LogsOptions::default();
    LogsOptions {
        name: source.name.clone(),
        url: source.url.clone(),
        service_key: source.logs.service.clone(),
        level_key: source.logs.level.clone(),
        message_key: source.logs.message.clone(),
        time_key: source.logs.time.clone(),
        dedup_window: source.logs.dedup_window.unwrap_or(defaults.dedup_window),
        ..defaults
    }
}

/// Counts the lines of new objects; a line for people and an object for programs. Under the dataset's lock.
pub(super) async fn take_in(source: &LogsSource) -> anyhow::Result<(String, Value)> {
    let LogsSummary { objects, changed_objects, unreadable_objects, bytes, lines } = source.take_in().await?;
    let name = source.name();
    let mut text = match objects {
        0 => format!("{name}: no new objects\n"),
        _ => format!("{name}: {lines} lines counted in {objects} new objects, {}\n", human_bytes(bytes)),
    };
    if unreadable_objects > 0 {
        text.push_str(&format!("  {unreadable_objects} objects cannot be opened; the next pull tries again\n"));
    }
    let summary = json!({
        "objects": objects,
        "changed_objects": changed_objects,
        "unreadable_objects": unreadable_objects,
        "bytes": bytes,
        "lines": lines,
    });
    Ok((text, json!({"name": name, "logs": summary})))
}

/// What is there, without counting it.
pub(super) async fn check(source: &LogsSource) -> anyhow::Result<(String, Value)> {
    source.probe().await?;
    let survey = source.survey().await.with_context(|| format!("source {:?}", source.name()))?;
    let text = describe(source.name(), &survey);
    Ok((text, json!({"name": source.name(), "kind": "logs", "survey": survey})))
}

fn describe(name: &str, survey: &LogsSurvey) -> String {
    let mut text =
        format!("source {name}: reachable, {} objects of logs, {}\n", survey.objects, human_bytes(survey.bytes));
    if let Some(newest) = survey.newest {
        text.push_str(&format!("  the newest was written at {newest}\n"));
    }
    text.push_str(&format!(
        "  in the newest {}: {} lines, {} of which would not be counted, {} services, {} pods\n",
        survey.sampled_objects,
        survey.lines,
        survey.wrong_lines,
        survey.services.len(),
        survey.pods,
    ));
    let named: Vec<&str> = survey.services.iter().take(NAMED_SERVICES).map(String::as_str).collect();
    if !named.is_empty() {
        let more = survey.services.len().saturating_sub(named.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        text.push_str(&format!("    {}{more}\n", named.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_says_what_is_there_and_what_would_be_lost() {
        let survey = LogsSurvey {
            objects: 12,
            bytes: 3 << 20,
            newest: Some("2026-01-02T10:00:00Z".parse().unwrap()),
            sampled_objects: 4,
            lines: 1000,
            wrong_lines: 7,
            services: vec!["cart".to_owned(), "pay".to_owned()],
            pods: 3,
            ..LogsSurvey::default()
        };
        let wanted = "source logs: reachable, 12 objects of logs, 3.0 MiB
  the newest was written at 2026-01-02T10:00:00Z
  in the newest 4: 1000 lines, 7 of which would not be counted, 2 services, 3 pods
    cart, pay
";
        assert_eq!(describe("logs", &survey), wanted);
    }
}
