//! What of a training window is not normal, though no limit shows it, and what is, though it looks odd: labels of people,
//! maintenance, deployments. Ranges of time in, ranges of time out; pure.
//!
//! Where they contradict each other: a labelled incident outweighs a false alarm; a false alarm outweighs what the samples
//! suggest, an incident or a deployment; maintenance outweighs all, for somebody was at work. Without any of them a window is
//! what it was, bit for bit. Not here: where labels are kept and which of them is the newest (the caller).

mod deployments;

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_features::{ServiceStep, SignalSet};
use forewarn_models::settle::{Breach, GRACE, Truth, agree};
use forewarn_schema::{BreachKind, LabelSet, TimeRange, Timestamp, Verdict, stable_id};
use serde::{Deserialize, Serialize};

use self::deployments::deployments;

/// Of the way to a labelled breach so much is no part of the normal; of one that the samples show by themselves too.
const WAY: Duration = Duration::from_secs(6 * 3600);

/// What is known of the training window of a fleet besides its samples. As JSON it can be handed to those who train the other
/// parts of the fleet: what one service knows moves what all learn from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Known {
    written: Written,
    digest: Option<String>,
}

/// What the digest is of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    maintenance: Vec<TimeRange>,
    services: BTreeMap<String, KnownOfService>,
}

impl From<Written> for Known {
    fn from(written: Written) -> Self {
        let digest = (written != Written::default()).then(|| {
            let text = serde_json::to_string(&written).unwrap_or_default();
            stable_id("known", &[&text])
        });
        Self { written, digest }
    }
}

impl From<Known> for Written {
    fn from(known: Known) -> Self {
        known.written
    }
}

/// The same of one service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownOfService {
    /// When it was worked on.
    pub maintenance: Vec<TimeRange>,
    /// What was said of it; of each subject the one label that counts.
    pub labels: Vec<LabelledTime>,
}

/// A label, as the time that it speaks of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelledTime {
    /// `None`: every kind of breach.
    pub kind: Option<BreachKind>,
    /// The target; a label that is not there agrees with any.
    pub labels: LabelSet,
    /// From when until when, as far as the label alone tells; the samples may show a longer way to the breach.
    pub range: TimeRange,
    /// What it was.
    pub verdict: Verdict,
}

impl LabelledTime {
    /// Whether people say that it was an incident.
    fn is_incident(&self) -> bool {
        matches!(self.verdict, Verdict::TruePositive | Verdict::Missed)
    }

    fn is_about(&self, kind: BreachKind, labels: &LabelSet) -> bool {
        self.kind.is_none_or(|of| of == kind) && agree(&self.labels, labels)
    }

    /// Whether `breach` is the one that it speaks of.
    pub(crate) fn is_of(&self, breach: &Breach) -> bool {
        let overlaps = breach.onset < self.range.end && self.range.start <= breach.over.max(breach.at) + GRACE;
        overlaps && self.is_about(breach.kind, &breach.labels)
    }
}

impl Known {
    /// `maintenance` is of every service. What lies at or after `until` is not known yet, and left out.
    pub fn before(until: Timestamp, maintenance: Vec<TimeRange>, services: BTreeMap<String, KnownOfService>) -> Self {
        let begun = |mut ranges: Vec<TimeRange>| {
            ranges.retain(|range| range.start < until && range.start < range.end);
            ranges.iter_mut().for_each(|range| range.end = range.end.min(until));
            merged(ranges)
        };
        let of_service = |known: KnownOfService| {
            let mut labels = known.labels;
            labels.retain(|label| label.range.start < until && label.verdict != Verdict::Unclear);
            let key = |l: &LabelledTime| (l.range.start, l.range.end, l.kind, l.labels.to_string(), l.verdict);
            labels.sort_by_key(key);
            labels.dedup();
            KnownOfService { maintenance: begun(known.maintenance), labels }
        };
        let services = services.into_iter().map(|(service, known)| (service, of_service(known)));
        Self::from(Written {
            maintenance: begun(maintenance),
            services: services.filter(|(_, known)| *known != KnownOfService::default()).collect(),
        })
    }

    /// Names all of it; `None` where nothing is known.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The labels of one service, by time.
    pub(crate) fn labels_of(&self, service: &str) -> &[LabelledTime] {
        self.written.services.get(service).map_or(&[], |known| &known.labels)
    }

    fn maintenance_of(&self, service: &str) -> impl Iterator<Item = &TimeRange> {
        let own = self.written.services.get(service).map_or(&[][..], |known| &known.maintenance);
        self.written.maintenance.iter().chain(own)
    }
}

/// What was left out of the normal of one service, and why; in the bundle's manifest, where anything but the samples had a say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Ways to breaches that the samples show.
    pub incidents: Share,
    /// What people say were incidents.
    pub labelled: Share,
    /// Maintenance windows and silences.
    pub maintenance: Share,
    /// Pods replaced and limits changed, each with a while after it.
    pub deployments: Share,
    /// Not left out, for people say that nothing was wrong, whatever it looks like.
    pub certainly_normal: Share,
    /// Breaches that people say were missed: they count twice.
    pub missed: u64,
    /// Of all that people said of the fleet before the window's end; `None` where nobody said anything.
    pub digest: Option<String>,
}

/// How often, and for how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Times.
    pub count: u64,
    /// Hours, each counted once.
    pub hours: f64,
}

impl Share {
    pub(crate) fn of(ranges: &[TimeRange]) -> Self {
        let merged = merged(ranges.to_vec());
        // An empty sum is -0.0.
        let seconds = merged.iter().map(|range| range.duration().as_secs_f64()).fold(0.0, |a, b| a + b);
        Self { count: merged.len() as u64, hours: seconds / 3600.0 }
    }
}

/// What of a window is normal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Normal {
    /// What is not, sorted; ranges may overlap.
    pub(crate) excluded: Vec<TimeRange>,
    /// What is for certain; sorted and apart.
    pub(crate) certain: Vec<TimeRange>,
    /// See there.
    pub(crate) left_out: Option<LeftOut>,
}

impl Normal {
    /// What is normal of the steps of `window`.
    ///
    /// Where the incidents that the samples show fill more than a quarter of the steps, they are what this service is like, and
    /// stay in; so do deployments. What people said is left out however much it is.
    pub(crate) fn of(
        service: &str,
        steps: &[ServiceStep],
        signals: &SignalSet,
        known: &Known,
        window: TimeRange,
    ) -> Self {
        let within = |ranges: &[TimeRange]| -> Vec<TimeRange> {
            ranges.iter().filter_map(|range| range.intersect(&window)).filter(|r| r.start < r.end).collect()
        };
        let rare = |ranges: &[TimeRange]| {
            steps.iter().filter(|step| ranges.iter().any(|range| range.contains(step.at))).count() * 4 <= steps.len()
        };
        let truth = Truth::of_service(&service.into(), steps, signals);
        let labels = known.labels_of(service);
        let breaches = if labels.is_empty() { Vec::new() } else { truth.breaches(window) };
        let labelled: Vec<TimeRange> =
            labels.iter().filter(|l| l.is_incident()).flat_map(|label| ways(label, &breaches)).collect();
        let labelled = within(&labelled);
        let false_alarms: Vec<TimeRange> =
            labels.iter().filter(|l| l.verdict == Verdict::FalsePositive).map(|l| l.range).collect();
        let certain = merged(without(&within(&false_alarms), &labelled));

        let incidents = truth.incidents(service);
        let incidents = if rare(&incidents) { without(&within(&incidents), &certain) } else { Vec::new() };
        let deployments = deployments(steps, signals);
        let deployments = if rare(&deployments) { without(&within(&deployments), &certain) } else { Vec::new() };
        let maintenance = within(&known.maintenance_of(service).copied().collect::<Vec<_>>());

        let left_out = (known.digest().is_some() || !deployments.is_empty()).then(|| LeftOut {
            incidents: Share::of(&incidents),
            labelled: Share::of(&labelled),
            maintenance: Share::of(&maintenance),
            deployments: Share::of(&deployments),
            certainly_normal: Share::of(&certain),
            missed: labels.iter().filter(|l| l.verdict == Verdict::Missed).count() as u64,
            digest: known.digest().map(str::to_owned),
        });
        let mut excluded = [incidents, labelled, deployments, maintenance].concat();
        excluded.sort_by_key(|r| (r.start, r.end));
        Self { excluded, certain, left_out }
    }

    /// Whether people say that nothing was wrong at `at`.
    pub(crate) fn is_certain(&self, at: Timestamp) -> bool {
        self.certain.iter().any(|range| range.contains(at))
    }
}

/// What a labelled incident leaves out: the ways to the breaches that it speaks of, or else its own range.
fn ways(label: &LabelledTime, breaches: &[&Breach]) -> Vec<TimeRange> {
    let of_it = breaches.iter().filter(|breach| label.is_of(breach));
    let way = |b: &&Breach| TimeRange { start: b.onset.max(b.at - WAY), end: b.over.max(b.at) + GRACE };
    let ways: Vec<TimeRange> = of_it.map(way).collect();
    if ways.is_empty() { vec![label.range] } else { ways }
}

/// What people say of a request about `labels` at `at`: `Some(true)`: it was a false alarm; an incident outweighs that.
pub(crate) fn was_false_alarm(
    labelled: &[LabelledTime],
    kind: BreachKind,
    labels: &LabelSet,
    at: Timestamp,
) -> Option<bool> {
    let of_it = || labelled.iter().filter(|l| l.range.contains(at) && l.is_about(kind, labels));
    if of_it().any(LabelledTime::is_incident) {
        return Some(false);
    }
    of_it().any(|l| l.verdict == Verdict::FalsePositive).then_some(true)
}

/// Sorted, and those that touch made one.
pub(crate) fn merged(mut ranges: Vec<TimeRange>) -> Vec<TimeRange> {
    ranges.sort_by_key(|r| (r.start, r.end));
    let mut merged: Vec<TimeRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// `ranges` less `holes`; each range by itself, so that without holes they are what they were.
fn without(ranges: &[TimeRange], holes: &[TimeRange]) -> Vec<TimeRange> {
    let holes = merged(holes.to_vec());
    let mut left = Vec::with_capacity(ranges.len());
    for range in ranges {
        let mut start = range.start;
        for hole in holes.iter().filter(|hole| hole.start < range.end && range.start < hole.end) {
            if start < hole.start {
                left.push(TimeRange { start, end: hole.start });
            }
            start = start.max(hole.end);
        }
        if start < range.end {
            left.push(TimeRange { start, end: range.end });
        }
    }
    left
}

#[cfg(test)]
mod tests;
