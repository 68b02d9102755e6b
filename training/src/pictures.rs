//! What a target did around a breach or a request, small enough for a page.

use std::time::Duration;

use forewarn_features::{ServiceStep, SignalSet};
use forewarn_schema::{Direction, LabelSet, Sample, TimeRange};

use crate::alarms::{CHART_POINTS, is_about};
use crate::replay::{Emitted, Replay};
use crate::report::{BreachReport, Picture, PictureFan, RequestReport};
use forewarn_models::settle::Outcome;

/// Before an onset, as a share of the way to the breach: one has to see that it was well.
const BEFORE: f64 = 0.6;
pub(crate) const LEAST: Duration = Duration::from_secs(3 * 3600);
pub(crate) const MOST: Duration = Duration::from_secs(3 * 86_400);
/// What is shown before a request that nothing came of.
pub(crate) const BEFORE_REQUEST: Duration = Duration::from_secs(12 * 3600);

/// The steps of one service, and what was said of it.
pub(crate) struct Pictures<'a> {
    pub(crate) steps: &'a [ServiceStep],
    pub(crate) signals: &'a SignalSet,
    pub(crate) replay: &'a Replay,
}

impl Pictures<'_> {
    /// The way to a breach, and an hour after it.
    pub(crate) fn of_breach(&self, breach: &BreachReport, requests: &[RequestReport]) -> Option<Picture> {
        let way = Duration::from_secs_f64(breach.at.seconds_since(breach.onset).max(0.0));
        let before = way.mul_f64(BEFORE).clamp(LEAST, MOST);
        let after = way.mul_f64(0.1).clamp(Duration::from_secs(3600), MOST);
        let window = TimeRange { start: breach.onset - before, end: breach.at + after };
        let first = requests
            .iter()
            .filter(|r| is_about(r, breach.kind, &breach.labels) && breach.onset <= r.at && r.at < breach.at)
            .find_map(|r| self.replay.emitted.get(&r.id));
        self.picture(&breach.signal, &breach.labels, window, first)
    }

    /// A request until its announced breach was due; `None` where the breach came, which has a picture.
    pub(crate) fn of_request(&self, request: &RequestReport) -> Option<Picture> {
        if matches!(request.outcome, Outcome::Breached { .. }) {
            return None;
        }
        let emitted = self.replay.emitted.get(&request.id)?;
        let due = request.predicted_breach.p90.min(request.at + MOST).max(request.at + LEAST);
        let window = TimeRange { start: request.at - BEFORE_REQUEST, end: due };
        self.picture(&request.signal, &emitted.foremost, window, Some(emitted))
    }

    fn picture(
        &self,
        signal: &str,
        labels: &LabelSet,
        window: TimeRange,
        emitted: Option<&Emitted>,
    ) -> Option<Picture> {
        let fan = emitted.into_iter().filter(|e| e.foremost == *labels).flat_map(|e| &e.fan);
        let fan = fan.map(|f| PictureFan { at: f.at, forecast: [f.p10, f.p50, f.p90] });
        let shown = fan.filter(|f| f.at < window.end && f.forecast.iter().all(|v| v.is_finite()));
        picture(self.steps, self.signals, signal, labels, window, shown.collect())
    }
}

/// What one target did in `window`; `None` where less than two values were seen. `steps` are sorted by time.
pub(crate) fn picture(
    steps: &[ServiceStep],
    signals: &SignalSet,
    signal: &str,
    labels: &LabelSet,
    window: TimeRange,
    fan: Vec<PictureFan>,
) -> Option<Picture> {
    let direction = signals.get(signal)?.direction;
    let from = steps.partition_point(|s| s.at < window.start);
    let to = steps.partition_point(|s| s.at < window.end);
    let mut points = Vec::new();
    let mut limit = None;
    for step in &steps[from..to] {
        let seen = step.observations.iter().find(|o| *o.signal == *signal && *o.labels == *labels);
        if let Some(seen) = seen.filter(|o| o.value.is_finite()) {
            limit = seen.limit.filter(|l| l.is_finite()).or(limit);
            points.push(Sample { at: step.at, value: seen.value });
        }
    }
    let picture = Picture { labels: labels.clone(), limit, points: thin(&points, direction), fan };
    (picture.points.len() > 1).then_some(picture)
}

/// Of each stretch the value nearest to the limit: a peak of one step is what one looks for.
fn thin(points: &[Sample], direction: Direction) -> Vec<Sample> {
    let stretch = points.len().div_ceil(CHART_POINTS).max(1);
    let nearest = points.chunks(stretch).filter_map(|chunk| match direction {
        Direction::Above => chunk.iter().max_by(|a, b| a.value.total_cmp(&b.value)),
        Direction::Below => chunk.iter().min_by(|a, b| a.value.total_cmp(&b.value)),
    });
    nearest.copied().collect()
}
