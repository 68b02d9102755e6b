//! What a pull will come to, before it is made: a few short windows of every expression are fetched, encoded and timed,
//! and what they cost is carried over to the plan. Costs about as much as six hours of each expression.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use forewarn_features::{Role, SignalSet};
use forewarn_schema::{Series, Step, TimeRange, Timestamp};

use crate::dataset::Dataset;
use crate::error::DatasetError;
use crate::gaps::{aligned, steps};
use crate::parquet_file;
use crate::plan::{PlannedWindow, PullPlan, service_label};
use crate::pull::{Answer, PullSummary, fetch};
use crate::source::HistorySource;
use crate::table::DayTable;
use crate::{Day, NoProgress};

/// Where in the range a sample lies, and how long it is.
const PLACES: [f64; 3] = [1.0 / 6.0, 3.0 / 6.0, 5.0 / 6.0];
const SAMPLE: Duration = Duration::from_secs(2 * 3600);
/// Parquet bytes a row where nothing can be measured: those of a shop of a dozen services.
const BYTES_PER_ROW: f64 = 3.5;

/// See [`Dataset::estimate`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PullEstimate {
    /// Rows that the pull will fetch.
    pub rows: u64,
    /// Parquet bytes of these rows.
    pub bytes: u64,
    /// How long it will take, where the source stays as quick as it was now.
    pub duration: Duration,
    /// Rows that the dataset will have of the whole range.
    pub whole_rows: u64,
    /// Their Parquet bytes.
    pub whole_bytes: u64,
}

impl PullPlan {
    /// What pulling it comes to where nothing can be measured: `series` series that are there at every step of `range`,
    /// spread evenly over the expressions. Without a duration.
    pub fn at_every_step(&self, signals: &SignalSet, step: Step, range: TimeRange, series: u64) -> PullEstimate {
        let series_of_each = series as f64 / signals.queries().len().max(1) as f64;
        let rows = series_of_each * self.iter().map(|window| steps(window.range, step) as f64).sum::<f64>();
        let whole_rows = series as f64 * aligned(range, step).map_or(0, |whole| steps(whole, step)) as f64;
        PullEstimate {
            rows: rows.round() as u64,
            bytes: (rows * BYTES_PER_ROW).round() as u64,
            duration: Duration::ZERO,
            whole_rows: whole_rows.round() as u64,
            whole_bytes: (whole_rows * BYTES_PER_ROW).round() as u64,
        }
    }
}

impl Dataset {
    /// Estimates what pulling `plan` of `range` comes to, from samples. Zero where there is nothing to ask for. Series that
    /// come and go between the samples, or a server that slows down under the pull, are not seen.
    pub async fn estimate(
        &self,
        source: &dyn HistorySource,
        signals: &SignalSet,
        step: Step,
        range: TimeRange,
        plan: &PullPlan,
    ) -> Result<PullEstimate, DatasetError> {
        let Some(whole) = aligned(range, step) else { return Ok(PullEstimate::default()) };
        let samples = samples(whole, step);
        // The shortest question first: what remains of a request when there is nothing to compute.
        let instant = TimeRange { start: whole.end - step.duration(), end: whole.end };
        let (_, request) = ask(source, signals, step, instant).await?;
        let mut measured = Vec::with_capacity(samples.len());
        for sample in samples {
            let (answers, took) = ask(source, signals, step, sample).await?;
            let signals = signals.clone();
            let work = move || Measured::new(&signals, step, sample, answers, took.saturating_sub(request));
            let one = tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string()).and_then(|one| one);
            measured.push(one.map_err(|reason| self.not_sampled(reason))?);
        }
        Ok(carry_over(signals, step, whole, plan, &measured, request))
    }

    fn not_sampled(&self, reason: String) -> DatasetError {
        let (path, store) = ("a sample".to_owned(), self.store.url().to_owned());
        DatasetError::Failed { action: "encode", path, store, reason }
    }
}

/// The windows to sample: apart where the range is long enough, else the range itself.
fn samples(whole: TimeRange, step: Step) -> Vec<TimeRange> {
    let length = whole.end.millis().saturating_sub(whole.start.millis());
    let sample = i64::try_from(SAMPLE.as_millis()).unwrap_or(i64::MAX).max(step.millis().saturating_mul(2));
    if length <= sample.saturating_mul(PLACES.len() as i64) {
        return vec![whole];
    }
    let window = |place: &f64| {
        let middle = whole.start.millis() + (length as f64 * place) as i64;
        let at = |millis: i64| Timestamp::from_millis(millis);
        aligned(TimeRange { start: at(middle - sample / 2), end: at(middle + sample / 2) }, step)
    };
    PLACES.iter().filter_map(window).collect()
}

/// Every expression over one window, as a pull asks, and how long that took.
async fn ask(
    source: &dyn HistorySource,
    signals: &SignalSet,
    step: Step,
    range: TimeRange,
) -> Result<(Vec<Answer>, Duration), DatasetError> {
    let Some(day) = Day::of(range.start) else { return Ok((Vec::new(), Duration::ZERO)) };
    let windows: Vec<PlannedWindow> =
        signals.queries().into_iter().map(|query| PlannedWindow { day, query, range }).collect();
    let begin = Instant::now();
    let answers = fetch(source, &windows, step, &NoProgress, &mut PullSummary::default()).await?;
    Ok((answers, begin.elapsed()))
}

/// What one sample has shown.
struct Measured {
    /// Rows a step of each expression.
    rates: BTreeMap<(String, Role), f64>,
    rows: f64,
    steps: f64,
    /// Bytes that a day's file has whatever its length: labels, dictionaries, footer.
    fixed_bytes: f64,
    bytes_per_row: f64,
    /// Beyond the requests themselves: computing, sending, decoding, encoding.
    seconds: f64,
}

impl Measured {
    fn new(
        signals: &SignalSet,
        step: Step,
        sample: TimeRange,
        answers: Vec<Answer>,
        took: Duration,
    ) -> Result<Self, String> {
        let begin = Instant::now();
        let all_steps = steps(sample, step).max(1) as f64;
        let half = Timestamp::from_millis(sample.start.millis() / 2 + sample.end.millis() / 2);
        let (mut whole, mut first) = (DayTable::default(), DayTable::default());
        let mut rates = BTreeMap::new();
        for Answer { window, series } in answers {
            let (signal, role) = (window.query.signal, window.query.role);
            let rows: usize = series.iter().map(|s| s.samples.len()).sum();
            let service = service_label(signals, &signal);
            let name: Arc<str> = Arc::from(signal.as_str());
            first.add(&name, role, service, series.iter().map(|s| before(s, half)).collect());
            whole.add(&name, role, service, series);
            rates.insert((signal, role), rows as f64 / all_steps);
        }
        let (rows, half_rows) = (whole.rows() as f64, first.rows() as f64);
        let bytes = parquet_file::encode(&whole)?.bytes.len() as f64;
        let half_bytes = parquet_file::encode(&first)?.bytes.len() as f64;
        let slope = (bytes - half_bytes) / (rows - half_rows).max(1.0);
        let bytes_per_row = if slope > 0.0 { slope } else { bytes / rows.max(1.0) };
        Ok(Self {
            rates,
            rows,
            steps: all_steps,
            fixed_bytes: (bytes - bytes_per_row * rows).max(0.0),
            bytes_per_row,
            // Encoded twice, of which once is what a pull does.
            seconds: took.as_secs_f64() + begin.elapsed().as_secs_f64() / 1.5,
        })
    }
}

fn before(series: &Series, end: Timestamp) -> Series {
    let samples = series.samples.iter().copied().take_while(|s| s.at < end).collect();
    Series { labels: series.labels.clone(), samples }
}

/// The plan's windows at the samples' rates.
fn carry_over(
    signals: &SignalSet,
    step: Step,
    whole: TimeRange,
    plan: &PullPlan,
    measured: &[Measured],
    request: Duration,
) -> PullEstimate {
    let n = measured.len().max(1) as f64;
    let mean = |what: &dyn Fn(&Measured) -> f64| measured.iter().map(what).sum::<f64>() / n;
    let rate = |query: &(String, Role)| mean(&|m| m.rates.get(query).copied().unwrap_or(0.0));
    let (fixed_bytes, bytes_per_row) = (mean(&|m| m.fixed_bytes), mean(&|m| m.bytes_per_row));
    let bytes = |rows: f64, days: f64| if rows > 0.0 { days * fixed_bytes + rows * bytes_per_row } else { 0.0 };

    let mut rows = 0.0;
    for window in plan.iter() {
        let query = (window.query.signal.clone(), window.query.role);
        rows += rate(&query) * steps(window.range, step) as f64;
    }
    let days: BTreeSet<Day> = plan.iter().map(|window| window.day).collect();
    let per_day = signals.queries().len().max(1) as f64;
    let seconds_per_row = mean(&|m| m.seconds / m.rows.max(1.0));
    // The first question asked each expression once, as many at a time as a pull does.
    let requests = request.as_secs_f64() * plan.windows() as f64 / per_day;
    let seconds = requests + rows * seconds_per_row;

    let whole_rows = mean(&|m| m.rows / m.steps) * steps(whole, step) as f64;
    let whole_days = Day::touched_by(whole).map_or(0, Iterator::count);
    PullEstimate {
        rows: rows.round() as u64,
        bytes: bytes(rows, days.len() as f64).round() as u64,
        duration: Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
        whole_rows: whole_rows.round() as u64,
        whole_bytes: bytes(whole_rows, whole_days as f64).round() as u64,
    }
}
