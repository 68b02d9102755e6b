//! Why an alarm was false or a breach was missed, as far as the records and the history show it, and the picture of it.
//! A person's note stands before what is read from data.

use std::time::Duration;

use forewarn_features::ServiceStep;
use forewarn_models::decision::RULES_VERSION;
use forewarn_models::guardrails::HeldBy;
use forewarn_plots::{Unit, format_utc};
use forewarn_schema::{Direction, FeedbackSubject, LabelSet, TimeRange, Timestamp, Verdict};

use super::{Announced, Missed, WeekHistory, WeekRecords};
use crate::pictures::{self, BEFORE_REQUEST, LEAST, MOST};
use crate::report::Picture;

/// What was held back or said this long before a breach has to do with it.
const ON_THE_WAY: Duration = Duration::from_secs(86_400);

pub(super) fn explain_false_alarm(alarm: &mut Announced, history: Option<WeekHistory<'_>>) {
    if alarm.verdict != Some(Verdict::FalsePositive) {
        return;
    }
    let due = alarm.predicted_breach.p90.min(alarm.at + MOST).max(alarm.at + LEAST);
    let window = TimeRange { start: alarm.at - BEFORE_REQUEST, end: due };
    let drawn = history.and_then(|h| drawn(h, &alarm.service, &alarm.signal, &alarm.labels, window));
    alarm.cause = Some(match drawn.as_ref().and_then(|(picture, direction)| nearest(picture, *direction, alarm.at)) {
        Some((share, at)) => {
            let share = Unit::Ratio.format(share);
            format!("it came no nearer than {share} of its limit ({})", format_utc(at))
        }
        None => "no breach came; what the target did is not in the dataset".to_owned(),
    });
    alarm.picture = drawn.map(|(picture, _)| picture);
}

pub(super) fn explain_miss(miss: &mut Missed, records: &WeekRecords, history: Option<WeekHistory<'_>>) {
    let window = TimeRange { start: miss.at - ON_THE_WAY / 2, end: miss.at + Duration::from_secs(3600) };
    miss.picture = match (history, &miss.signal) {
        (Some(history), Some(signal)) => drawn(history, &miss.service, signal, &miss.labels, window).map(|(p, _)| p),
        _ => None,
    };
    let said = cause_of_miss(miss, records);
    let note = note_on(miss, records);
    miss.cause = note.map_or_else(|| said.clone(), |note| format!("{note} ({said})"));
}

fn cause_of_miss(miss: &Missed, records: &WeekRecords) -> String {
    let before = TimeRange { start: miss.at - ON_THE_WAY, end: miss.at };
    let held = records.held.iter().filter(|h| h.service == miss.service && before.contains(h.since));
    let held = held.filter(|h| miss.signal.as_ref().is_none_or(|signal| *signal == h.signal));
    if let Some(held) = held.max_by_key(|h| h.since) {
        return format!("it was seen coming and held back {} at {}", held_words(held.by), format_utc(held.since));
    }
    let said = records.predictions.iter().filter(|p| {
        p.service == miss.service && p.kind == miss.kind && before.contains(p.at) && p.time_to_breach_seconds.is_some()
    });
    let most = said.max_by(|a, b| a.breach_probability.get().total_cmp(&b.breach_probability.get()));
    match (most, miss.probability) {
        (Some(most), _) => {
            let learnt = match &*most.model_version == RULES_VERSION {
                true => "; no model serves there, so that more is wanted before it is announced",
                false => "",
            };
            let (probability, at) = (Unit::Ratio.format(most.breach_probability.get()), format_utc(most.at));
            format!("the most that was said on the way was {probability} at {at}, not for long enough{learnt}")
        }
        (None, Some(probability)) => {
            format!("on the way it was never called likelier than {}", Unit::Ratio.format(probability))
        }
        (None, None) => "no prediction on the way was likely enough to be kept".to_owned(),
    }
}

/// What a person wrote about a missed breach.
fn note_on(miss: &Missed, records: &WeekRecords) -> Option<String> {
    let about = records.labels.iter().filter(|label| match &label.subject {
        FeedbackSubject::Breach { service, kind, at } => {
            let hour = Duration::from_secs(3600);
            *service == miss.service && *kind == miss.kind && *at <= miss.at + hour && miss.at <= *at + hour
        }
        _ => false,
    });
    about.max_by_key(|label| label.created_at)?.note.clone()
}

/// Of the targets that agree with `labels`, the first that was seen: a request may name a workload, not its pods.
fn drawn(
    history: WeekHistory<'_>,
    service: &str,
    signal: &str,
    labels: &LabelSet,
    window: TimeRange,
) -> Option<(Picture, Direction)> {
    let steps = history.histories.get(service)?;
    let target = target_in(steps, signal, labels, window)?;
    let picture = pictures::picture(steps, history.signals, signal, &target, window, Vec::new())?;
    Some((picture, history.signals.get(signal)?.direction))
}

fn target_in(steps: &[ServiceStep], signal: &str, labels: &LabelSet, window: TimeRange) -> Option<LabelSet> {
    let within = steps.iter().filter(|s| window.contains(s.at));
    let mut observations = within.flat_map(|s| &s.observations);
    let found = observations.find(|o| *o.signal == *signal && forewarn_models::settle::agree(&o.labels, labels))?;
    Some((*found.labels).clone())
}

/// How near to its limit the target came after `at`, as a share of it, and when; `None` of a limit that is reached from above:
/// there is no share of it.
fn nearest(picture: &Picture, direction: Direction, at: Timestamp) -> Option<(f64, Timestamp)> {
    let limit = picture.limit.filter(|limit| *limit > 0.0 && direction == Direction::Above)?;
    let after = picture.points.iter().filter(|p| p.at >= at && p.value.is_finite());
    let nearest = after.max_by(|a, b| a.value.total_cmp(&b.value))?;
    Some((nearest.value / limit, nearest.at))
}

fn held_words(by: HeldBy) -> &'static str {
    super::markdown::held_words(by)
}
