//! Asking both sides, and comparing what they say.

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_features::promql::{Expression, SampleStore};
use forewarn_schema::{LabelSet, METRIC_NAME, Sample, Series, Step, TimeRange, Timestamp};
use forewarn_testkit::http::get;
use serde_json::Value;

/// Rounding only: both sides add the same numbers, not always in the same order.
const TOLERANCE: f64 = 1e-9;

/// A Prometheus, and the samples that it has.
pub(crate) struct Served {
    pub(crate) url: String,
    pub(crate) store: SampleStore,
}

/// Elements compared, by expression.
pub(crate) type Compared = BTreeMap<String, usize>;

/// Values by time in milliseconds, by labels.
type Matrix = BTreeMap<LabelSet, BTreeMap<i64, f64>>;

impl Served {
    /// Asks both at one time; panics where they differ.
    pub(crate) fn compare_at(&self, text: &str, at: Timestamp, compared: &mut Compared) {
        let ours = parse(text).eval(&self.store, at).map_err(|e| e.to_string());
        let ours = ours.map(|vector| vector.into_iter().map(|(labels, value)| (labels, [(at.millis(), value)].into())));
        let theirs = instant_query(&self.url, text, at);
        let count = compare(text, &format!("at {at}"), ours.map(Iterator::collect), theirs);
        *compared.entry(text.to_owned()).or_default() += count;
    }

    /// Asks both at every step of a range; panics where they differ.
    pub(crate) fn compare_steps(&self, text: &str, range: TimeRange, step: Step, compared: &mut Compared) {
        let ours = parse(text).eval_range(&self.store, range, step).map_err(|e| e.to_string());
        let points = |s: Series| (s.labels, s.samples.iter().map(|x| (x.at.millis(), x.value)).collect());
        let ours = ours.map(|series| series.into_iter().map(points).collect());
        let theirs = range_query(&self.url, text, range, step);
        let count = compare(text, &format!("over {range}"), ours, theirs);
        *compared.entry(text.to_owned()).or_default() += count;
    }
}

fn parse(text: &str) -> Expression {
    Expression::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// How many values there were; one where both refuse.
fn compare(text: &str, when: &str, ours: Result<Matrix, String>, theirs: Result<Matrix, String>) -> usize {
    let (ours, theirs) = match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        (Err(_), Err(_)) => return 1,
        (ours, theirs) => panic!("{text} {when}: one side refuses: ours {ours:?}, theirs {theirs:?}"),
    };
    let labels = |of: &Matrix| of.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(labels(&ours), labels(&theirs), "{text} {when}: other elements than Prometheus has");
    for (labels, theirs) in &theirs {
        let ours = &ours[labels];
        let times = |of: &BTreeMap<i64, f64>| of.keys().copied().collect::<Vec<_>>();
        assert_eq!(times(ours), times(theirs), "{text} {when}, {labels}: other times than Prometheus has");
        for (at, their) in theirs {
            let our = ours[at];
            let equal = our == *their
                || (our.is_nan() && their.is_nan())
                || (our - their).abs() <= TOLERANCE * our.abs().max(their.abs());
            assert!(equal, "{text} {when}, {labels} at {at}: {our} is not Prometheus' {their}");
        }
    }
    theirs.values().map(BTreeMap::len).sum()
}

/// An agreement over nothing proves nothing.
pub(crate) fn refuse_empty(compared: &Compared) {
    let empty: Vec<&String> = compared.iter().filter(|(_, n)| **n == 0).map(|(text, _)| text).collect();
    assert!(empty.is_empty(), "no elements at any time: {empty:#?}");
    println!("{} expressions, {} elements compared", compared.len(), compared.values().sum::<usize>());
}

/// The expressions of a corpus: one a line, comments and empty lines left out.
pub(crate) fn corpus(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// Every sample in the `back` up to `end`, at its own time.
pub(crate) fn raw_samples(url: &str, end: Timestamp, back: Duration) -> SampleStore {
    let mut store = SampleStore::new(100_000);
    let names =
        query(url, "query", "count by (__name__) (last_over_time({__name__=~\".+\"}[12h]))", &time("time", end));
    for name in names.unwrap()["result"].as_array().unwrap() {
        let name = name["metric"][METRIC_NAME].as_str().unwrap();
        let result = query(url, "query", &format!("{name}[{}s]", back.as_secs()), &time("time", end)).unwrap();
        for series in result["result"].as_array().unwrap() {
            let samples = points(&series["values"]).map(|(ms, value)| Sample { at: Timestamp::from_millis(ms), value });
            store.push_series(Series { labels: labels(&series["metric"]), samples: samples.collect() }).unwrap();
        }
    }
    store
}

fn instant_query(url: &str, text: &str, at: Timestamp) -> Result<Matrix, String> {
    let result = query(url, "query", text, &time("time", at))?;
    let point = |of: &Value| BTreeMap::from([(at.millis(), number(&of[1]))]);
    if result["resultType"] == "scalar" {
        return Ok(BTreeMap::from([(LabelSet::new(), point(&result["result"]))]));
    }
    let elements = result["result"].as_array().unwrap().iter().filter(|e| !e["value"].is_null());
    Ok(elements.map(|e| (labels(&e["metric"]), point(&e["value"]))).collect())
}

fn range_query(url: &str, text: &str, range: TimeRange, step: Step) -> Result<Matrix, String> {
    // Theirs includes its end, ours does not.
    let (start, end) = (range.start.align_up(step), Timestamp::from_millis(range.end.millis() - 1));
    let parameters = format!("{}&{}&step={}", time("start", start), time("end", end), step.seconds());
    let result = query(url, "query_range", text, &parameters)?;
    let series = result["result"].as_array().unwrap().iter().filter(|s| !s["values"].is_null());
    Ok(series.map(|s| (labels(&s["metric"]), points(&s["values"]).collect())).collect())
}

fn time(name: &str, at: Timestamp) -> String {
    let millis = at.millis();
    format!("{name}={}.{:03}", millis / 1000, millis % 1000)
}

fn query(url: &str, endpoint: &str, text: &str, parameters: &str) -> Result<Value, String> {
    let encoded: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
    let answer = get(&format!("{url}/api/v1/{endpoint}?{parameters}&query={encoded}")).unwrap();
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap();
    if body["status"] == "success" { Ok(body["data"].take()) } else { Err(body["error"].to_string()) }
}

fn points(values: &Value) -> impl Iterator<Item = (i64, f64)> {
    let millis = |seconds: &Value| (seconds.as_f64().unwrap() * 1000.0).round() as i64;
    values.as_array().unwrap().iter().map(move |point| (millis(&point[0]), number(&point[1])))
}

fn labels(metric: &Value) -> LabelSet {
    metric.as_object().unwrap().iter().map(|(k, v)| (k.clone(), v.as_str().unwrap())).collect()
}

fn number(text: &Value) -> f64 {
    text.as_str().unwrap().parse().unwrap()
}
