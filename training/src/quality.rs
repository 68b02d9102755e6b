//! Figures of what was judged, with their intervals; whether probabilities and intervals mean what they
//! say. What is compared with what is `compare`'s business.

use std::collections::BTreeMap;

use forewarn_schema::{BreachKind, TimeRange};

use crate::alarms::{Judged, Settled, Spoken};
use crate::intervals::{self, Interval, bootstrap};
use crate::metrics::{average_precision, brier_score, concordance_index, mean, median};
use crate::report::{AlarmIntervals, AlarmQuality, Calibration, ReliabilityBin, RightRequests, TimeBin, Timing};
use forewarn_models::settle::Outcome;

const WEEK_SECONDS: f64 = 7.0 * 86_400.0;
/// Harrell's C looks at each pair of breaches; for more than this its interval would take seconds.
const MOST_FOR_CONCORDANCE: usize = 300;
/// Edges of the true time to breach, seconds: what is near is easier.
const TIMES: [f64; 7] = [0.0, 1800.0, 7200.0, 21_600.0, 86_400.0, 259_200.0, f64::INFINITY];
const PROBABILITY_BINS: usize = 10;

impl Judged {
    /// The figures over `range`, of one kind of breach or of all.
    pub(crate) fn quality_of(&self, range: TimeRange, kind: Option<BreachKind>) -> AlarmQuality {
        let is_asked = |of: BreachKind| kind.is_none_or(|kind| kind == of);
        let all: Vec<&Settled> = self.settled.iter().filter(|s| is_asked(s.kind)).collect();
        let counted: Vec<&Settled> = all.iter().copied().filter(|s| s.counts).collect();
        let episodes = by_episode(&counted);
        let spoken: Vec<&Spoken> = self.spoken.iter().filter(|s| is_asked(s.kind)).collect();
        let requests = || self.requests.iter().filter(|r| is_asked(r.kind));
        let of = |wanted: fn(&Outcome) -> bool| requests().filter(|r| wanted(&r.outcome)).count() as u64;
        let (breaches, predicted) = (counted.len() as u64, counted.iter().filter(|s| s.predicted).count() as u64);
        let false_alarms = of(|o| *o == Outcome::FalseAlarm);
        let weeks = range.duration().as_secs_f64() / WEEK_SECONDS;
        let pairs = || spoken.iter().map(|s| (s.probability, s.happened));
        let halfway: Vec<(f64, f64)> = counted.iter().filter_map(|s| s.halfway).collect();
        let share = predicted as f64 / breaches as f64;
        AlarmQuality {
            breaches,
            episodes: episodes.len() as u64,
            sudden: all.len() as u64 - breaches,
            predicted,
            recall: (breaches > 0).then_some(share),
            requests: requests().count() as u64,
            right: {
                let of = |timing| requests().filter(|r| r.timing == Some(timing)).count() as u64;
                RightRequests { early: of(Timing::Early), within: of(Timing::Within), late: of(Timing::Late) }
            },
            false_alarms,
            false_alarms_per_week: if weeks > 0.0 { false_alarms as f64 / weeks } else { 0.0 },
            neutral: of(|o| matches!(o, Outcome::Averted | Outcome::InBreach)),
            unsettled: of(|o| *o == Outcome::Unsettled),
            median_lead_seconds: median(counted.iter().filter_map(|s| s.lead)),
            median_time_to_breach_error: median(counted.iter().map(|s| s.time_error)),
            interval_coverage: mean(counted.iter().filter_map(|s| s.coverage)),
            concordance: concordance_index(&halfway),
            brier_score: brier_score(pairs()),
            average_precision: average_precision(pairs()),
            intervals: AlarmIntervals {
                recall: intervals::of_share(share * episodes.len() as f64, episodes.len() as f64),
                false_alarms_per_week: intervals::of_rate(false_alarms, weeks),
                median_lead_seconds: over(&episodes, |s| median(s.filter_map(|s| s.lead))),
                median_time_to_breach_error: over(&episodes, |s| median(s.map(|s| s.time_error))),
                interval_coverage: over(&episodes, |s| mean(s.filter_map(|s| s.coverage))),
                concordance: (halfway.len() <= MOST_FOR_CONCORDANCE)
                    .then(|| over(&episodes, |s| concordance_index(&s.filter_map(|s| s.halfway).collect::<Vec<_>>())))
                    .flatten(),
                brier_score: intervals::of_mean(&squares_by_block(&spoken).into_values().collect::<Vec<_>>()),
            },
        }
    }

    /// Whether what was said means what it says.
    pub(crate) fn calibration(&self) -> Calibration {
        Calibration { probability: reliability(&self.spoken), time_to_breach: by_time(&self.settled) }
    }
}

/// The breaches of each episode, in the order of the episodes.
pub(crate) fn by_episode<'a>(settled: &[&'a Settled]) -> Vec<Vec<&'a Settled>> {
    let mut episodes: BTreeMap<usize, Vec<&Settled>> = BTreeMap::new();
    for breach in settled {
        episodes.entry(breach.episode).or_default().push(breach);
    }
    episodes.into_values().collect()
}

/// The interval of a figure over episodes.
fn over(
    episodes: &[Vec<&Settled>],
    figure: impl Fn(&mut dyn Iterator<Item = &Settled>) -> Option<f64>,
) -> Option<Interval> {
    bootstrap(episodes.len(), |drawn| figure(&mut drawn.iter().flat_map(|i| episodes[*i].iter().copied())))
}

/// Sum and count of `(p − y)²` of each block.
pub(crate) fn squares_by_block(spoken: &[&Spoken]) -> BTreeMap<(usize, i64), (f64, f64)> {
    let mut blocks: BTreeMap<(usize, i64), (f64, f64)> = BTreeMap::new();
    for said in spoken {
        let block = blocks.entry(said.block).or_default();
        block.0 += (said.probability - f64::from(u8::from(said.happened))).powi(2);
        block.1 += 1.0;
    }
    blocks
}

/// Of the predictions that said about so much, how many came true. Bins of a tenth; empty ones left out.
fn reliability(spoken: &[Spoken]) -> Vec<ReliabilityBin> {
    let mut bins: Vec<Vec<&Spoken>> = vec![Vec::new(); PROBABILITY_BINS];
    for said in spoken.iter().filter(|s| !s.probability.is_nan()) {
        let bin = (said.probability.clamp(0.0, 1.0) * PROBABILITY_BINS as f64) as usize;
        bins[bin.min(PROBABILITY_BINS - 1)].push(said);
    }
    let bin = |said: Vec<&Spoken>| {
        let mut blocks: BTreeMap<(usize, i64), (f64, f64)> = BTreeMap::new();
        for s in &said {
            let block = blocks.entry(s.block).or_default();
            *block = (block.0 + f64::from(u8::from(s.happened)), block.1 + 1.0);
        }
        let blocks: Vec<(f64, f64)> = blocks.into_values().collect();
        let observed = intervals::ratio_of_sums(blocks.iter().copied())?;
        // With a handful of days resampling them says nothing, and as many trials as days are to be had.
        let days = blocks.len() as f64;
        let interval = intervals::of_mean(&blocks).or_else(|| intervals::of_share(observed * days, days))?;
        let predicted = mean(said.iter().map(|s| s.probability))?;
        Some(ReliabilityBin { predicted, observed, interval, count: said.len() as u64, blocks: blocks.len() as u64 })
    };
    bins.into_iter().filter_map(bin).collect()
}

/// Where the true time to breach lay in what was said, by how far away the breach was.
fn by_time(settled: &[Settled]) -> Vec<TimeBin> {
    let counted: Vec<&Settled> = settled.iter().filter(|s| s.counts).collect();
    let episodes = by_episode(&counted);
    let bin = |from: f64, to: f64| {
        let mut cells = [0_u64; 4];
        let mut clusters = Vec::new();
        for episode in &episodes {
            let (mut held, mut said) = (0.0, 0.0);
            for (truth, [p10, p50, p90]) in episode.iter().flat_map(|s| &s.intervals) {
                if !(from..to).contains(truth) {
                    continue;
                }
                let cell = [p10, p50].iter().filter(|q| truth >= **q).count() + usize::from(truth > p90);
                cells[cell] += 1;
                said += 1.0;
                held += f64::from(u8::from(p10 <= truth && truth <= p90));
            }
            if said > 0.0 {
                clusters.push((held, said));
            }
        }
        let predictions: u64 = cells.iter().sum();
        let coverage = intervals::ratio_of_sums(clusters.iter().copied())?;
        let n = clusters.len() as f64;
        Some(TimeBin {
            from_seconds: from,
            to_seconds: Some(to).filter(|to| to.is_finite()),
            episodes: clusters.len() as u64,
            predictions,
            coverage,
            interval: intervals::of_mean(&clusters).or_else(|| intervals::of_share(coverage * n, n))?,
            below_p10: cells[0] as f64 / predictions as f64,
            p10_to_p50: cells[1] as f64 / predictions as f64,
            p50_to_p90: cells[2] as f64 / predictions as f64,
            above_p90: cells[3] as f64 / predictions as f64,
        })
    };
    TIMES.windows(2).filter_map(|edge| bin(edge[0], edge[1])).collect()
}

/// How far a coverage is from the 80 % that the interval promises.
pub(crate) fn dishonesty(coverage: f64) -> f64 {
    (coverage - 0.8).abs()
}
