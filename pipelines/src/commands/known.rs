//! What is known of the training window besides the samples, gathered: people's labels and silences from the state database,
//! maintenance from the configuration. What follows from it is `forewarn_training::exclusions`.
//!
//! A run gathers it once and keeps it in the store: each part of it, and each attempt, learns from the same.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use forewarn_inference::{MaintenanceWindow, StateStore, When};
use forewarn_models::runs;
use forewarn_models::scorer::horizon_seconds;
use forewarn_models::settle::GRACE;
use forewarn_schema::{BreachKind, Feedback, FeedbackSubject, LabelSet, LabelSource, TimeRange, Timestamp, Verdict};
use forewarn_storage::{Store, StoreError, Version};
use forewarn_training::{Known, KnownOfService, LabelledTime};

use super::open;
use crate::config::Config;

/// However far ahead was looked, so much of what followed a prediction is what the label is about.
const MOST_SAID: Duration = Duration::from_secs(6 * 3600);
/// Of a breach that nobody announced, this is taken for its way where the samples do not show it.
const WAY: Duration = Duration::from_secs(2 * 3600);
const MAX_KNOWN_BYTES: u64 = 64 << 20;

/// What is known now of `range`.
pub(super) async fn gather(config: &Config, range: TimeRange) -> anyhow::Result<Known> {
    let mut services: BTreeMap<String, KnownOfService> = BTreeMap::new();
    let mut everywhere = Vec::new();
    let mut add = |service: Option<&String>, ranges: Vec<TimeRange>| match service {
        Some(service) => services.entry(service.clone()).or_default().maintenance.extend(ranges),
        None => everywhere.extend(ranges),
    };
    for window in &config.requests.safety.maintenance {
        add(window.service.as_ref(), times_of(config, window, range));
    }
    let Some(state) = open::existing_state(config).await? else {
        return Ok(Known::before(range.end, everywhere, services));
    };
    for silence in state.silences(range.start).await? {
        let silenced = TimeRange { start: silence.from, end: silence.until.max(silence.from) };
        add(silence.service.as_ref(), silenced.intersect(&range).into_iter().collect());
    }
    let mut unknown = 0;
    for label in newest(state.feedback().await?).values() {
        match said_of(&state, label).await? {
            Some((service, time)) => services.entry(service).or_default().labels.push(time),
            None => unknown += 1,
        }
    }
    if unknown > 0 {
        tracing::info!(unknown, "labels of predictions that are kept no more, or of no service: not learnt from");
    }
    Ok(Known::before(range.end, everywhere, services))
}

/// What the run `id` knows: what its first part found. Whoever comes first writes it down.
pub(super) async fn of_run(config: &Config, store: &Store, id: &str, range: TimeRange) -> anyhow::Result<Known> {
    let path = format!("{}/known.json", runs::folder_of(id)?);
    let read = async || -> anyhow::Result<Option<Known>> {
        let Some(bytes) = store.get(&path, MAX_KNOWN_BYTES).await? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).with_context(|| format!("{path} cannot be read"))
    };
    if let Some(known) = read().await? {
        return Ok(known);
    }
    let known = gather(config, range).await?;
    let json = serde_json::to_vec_pretty(&known)?;
    match store.replace(&path, json.into(), &Version::ABSENT).await {
        Ok(_) => Ok(known),
        Err(StoreError::Changed { .. }) => read().await?.with_context(|| format!("{path} was there and is gone")),
        Err(e) => Err(e.into()),
    }
}

/// A weekly window as ranges of time, by steps.
fn times_of(config: &Config, window: &MaintenanceWindow, range: TimeRange) -> Vec<TimeRange> {
    if let When::Once(once) = &window.when {
        return once.intersect(&range).into_iter().collect();
    }
    let (calendar, step) = (&config.requests.safety.calendar, Duration::from_secs(60));
    let mut times: Vec<TimeRange> = Vec::new();
    let mut at = range.start;
    while at < range.end {
        if window.contains(at, calendar) {
            match times.last_mut() {
                Some(last) if last.end == at => last.end = at + step,
                _ => times.push(TimeRange { start: at, end: at + step }),
            }
        }
        at = at + step;
    }
    times
}

/// The label that counts of each subject: the newest, of a person where one said anything.
fn newest(feedback: Vec<Feedback>) -> BTreeMap<String, Feedback> {
    let by_a_person = |label: &Feedback| label.source != LabelSource::Alertmanager;
    let mut newest: BTreeMap<String, Feedback> = BTreeMap::new();
    for label in feedback {
        let subject = serde_json::to_string(&label.subject).unwrap_or_default();
        match newest.get(&subject) {
            Some(before) if by_a_person(before) && !by_a_person(&label) => {}
            _ => {
                newest.insert(subject, label);
            }
        }
    }
    newest
}

/// Which service a label is of, and which time; `None` where nobody knows any more.
async fn said_of(state: &StateStore, label: &Feedback) -> anyhow::Result<Option<(String, LabelledTime)>> {
    let time = |kind, labels, range| LabelledTime { kind, labels, range, verdict: label.verdict };
    Ok(match &label.subject {
        FeedbackSubject::Prediction { prediction_id } => state.prediction(prediction_id).await?.map(|p| {
            let ahead = p.time_to_breach_seconds.map_or(p.horizon_seconds, |t| t.p90());
            let range = after(p.at, ahead, p.horizon_seconds, label.verdict);
            (p.service.to_string(), time(Some(p.kind), (*p.labels).clone(), range))
        }),
        FeedbackSubject::Request { request_id } => state.request(request_id).await?.map(|stored| {
            let r = stored.request;
            let ahead = r.predicted_breach.p90.seconds_since(r.at);
            let range = after(r.at, ahead, horizon_seconds(r.kind), label.verdict);
            (r.service, time(Some(r.kind), r.labels, range))
        }),
        FeedbackSubject::Breach { service, kind, at } => {
            let way = if *kind == BreachKind::CertificateExpiry { Duration::ZERO } else { WAY };
            let range = TimeRange { start: *at - way, end: *at + GRACE };
            Some((service.clone(), time(Some(*kind), LabelSet::new(), range)))
        }
        FeedbackSubject::Span { service, kind, range } => Some((service.clone(), time(*kind, LabelSet::new(), *range))),
    })
}

/// What a label of something said at `at` is about: a false alarm of all that it looked ahead to, an incident of the time until
/// it was thought to come.
fn after(at: Timestamp, ahead_seconds: f64, horizon_seconds: f64, verdict: Verdict) -> TimeRange {
    let seconds = if verdict == Verdict::FalsePositive { horizon_seconds } else { ahead_seconds };
    let length = Duration::try_from_secs_f64(seconds).unwrap_or(MOST_SAID).min(MOST_SAID);
    TimeRange { start: at, end: at + length.max(GRACE) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn label(source: LabelSource, verdict: Verdict, seconds: i64) -> Feedback {
        Feedback {
            id: format!("f-{seconds}"),
            subject: FeedbackSubject::Prediction { prediction_id: "p-1".to_owned() },
            verdict,
            note: None,
            source,
            who: String::new(),
            created_at: Timestamp::from_seconds(seconds),
        }
    }

    #[test]
    fn the_newest_label_counts_and_an_alert_never_outweighs_a_person() {
        let of = |labels: Vec<Feedback>| newest(labels).into_values().map(|l| l.verdict).collect::<Vec<_>>();
        let person = |verdict, at| label(LabelSource::Page, verdict, at);
        let alert = |verdict, at| label(LabelSource::Alertmanager, verdict, at);
        let (right, wrong) = (Verdict::TruePositive, Verdict::FalsePositive);
        assert_eq!(of(vec![person(right, 1), person(wrong, 2)]), [wrong]);
        assert_eq!(of(vec![person(wrong, 1), alert(right, 2)]), [wrong]);
        assert_eq!(of(vec![alert(right, 1), person(wrong, 2)]), [wrong]);
        assert_eq!(of(vec![alert(wrong, 1), alert(right, 2)]), [right]);
    }

    #[test]
    fn a_weekly_window_becomes_its_hours() {
        let text = "[[requests.maintenance]]\nweekly = \"Sun 02:00-04:00\"\n[dataset]\ntime_zone = \"Europe/Berlin\"\n";
        let config = Config::from_text(Path::new("f.toml"), text, &[]).unwrap();
        let range = TimeRange::new("2026-01-05T00:00:00Z".parse().unwrap(), "2026-01-18T02:00:00Z".parse().unwrap());
        let times = times_of(&config, &config.requests.safety.maintenance[0], range.unwrap());
        let shown: Vec<String> = times.iter().map(ToString::to_string).collect();
        let sundays = ["2026-01-11T01:00:00Z to 2026-01-11T03:00:00Z", "2026-01-18T01:00:00Z to 2026-01-18T02:00:00Z"];
        assert_eq!(shown, sundays, "cut off where the range ends");
    }
}
