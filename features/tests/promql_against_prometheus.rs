//! The live evaluator against a real Prometheus: the same samples, the same expressions, the same
//! times, equal answers. Skipped, with a printed reason, where Prometheus or the data is absent.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that fails to set up should panic, and says what it skips"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use forewarn_features::presets::{NAMES, preset};
use forewarn_features::promql::{Expression, SampleStore};
use forewarn_schema::{LabelSet, METRIC_NAME, STALE_NAN_BITS, Sample, Series, Timestamp};
use forewarn_testkit::http::{get, post};
use forewarn_testkit::noise::Noise;
use forewarn_testkit::{remote_write, servers};
use serde_json::Value;

/// Rounding only: both sides add the same numbers, Prometheus not always in our order.
const TOLERANCE: f64 = 1e-9;

/// What people write over a shop's metrics.
const OVER_THE_SHOP: &[&str] = &[
    "container_memory_working_set_bytes{service=\"shipping\"}",
    "container_memory_working_set_bytes{service=~\"ship.*|cart\", container!~\"istio.*\"} offset 10m",
    "count(container_memory_working_set_bytes{service=~\"ship\"}) or vector(0)",
    "{__name__=~\"hikaricp_connections_(active|pending)\", service=\"cart\"}",
    "rate(http_requests_total{service=\"shipping\"}[5m])",
    "rate(http_requests_total{service=\"shipping\"}[30m] offset 7m)",
    "sum by (service) (increase(http_requests_total[10m]))",
    "sum by (service, code) (irate(http_requests_total[5m]))",
    "sum without (pod, instance, node) (rate(http_requests_total[5m]))",
    "sum(rate(http_requests_total{code=~\"5..\"}[5m])) by (service) / ignoring(code) sum(rate(http_requests_total[5m])) by (service)",
    "sum by (service) (rate(http_requests_total{code=~\"5..\"}[15m])) / on(service) group_left() sum by (service) (rate(http_requests_total[15m])) > 0.0005",
    "predict_linear(node_filesystem_avail_bytes[1h], 4 * 3600) < 5e10",
    "predict_linear(container_memory_working_set_bytes[30m], 3600)",
    "predict_linear(node_filesystem_avail_bytes[30m] offset 5m, 86400)",
    "deriv(process_resident_memory_bytes[20m])",
    "delta(container_memory_working_set_bytes[10m])",
    "idelta(container_memory_working_set_bytes[10m])",
    "avg_over_time(container_memory_working_set_bytes[15m])",
    "min_over_time(hikaricp_connections_active[15m])",
    "max_over_time(hikaricp_connections_active[15m])",
    "sum_over_time(hikaricp_connections_pending[1h])",
    "count_over_time(container_memory_working_set_bytes[7m])",
    "last_over_time(container_memory_working_set_bytes[20m])",
    "stddev_over_time(container_memory_working_set_bytes[20m])",
    "stdvar_over_time(hikaricp_connections_active[20m])",
    "quantile_over_time(0.95, hikaricp_connections_active[30m])",
    "present_over_time(probe_ssl_earliest_cert_expiry[5m])",
    "changes(kube_pod_container_status_restarts_total[1h])",
    "sum by (service) (resets(http_requests_total[1h]))",
    "increase(kube_pod_container_status_restarts_total[1h])",
    "histogram_quantile(0.99, sum by (service, le) (rate(http_request_duration_seconds_bucket[5m])))",
    "histogram_quantile(0.5, rate(http_request_duration_seconds_bucket{service=\"cart\"}[10m]))",
    "histogram_quantile(0.9, http_request_duration_seconds_bucket{service=\"cart\"})",
    "container_memory_working_set_bytes / on(pod) group_left(resource) kube_pod_container_resource_limits{resource=\"memory\"}",
    "kube_pod_container_resource_limits{resource=\"memory\"} - on(pod) group_right container_memory_working_set_bytes",
    "max by (service, pod) (container_memory_working_set_bytes) / max by (service, pod) (kube_pod_container_resource_limits{resource=\"memory\"}) > bool 0.5",
    "hikaricp_connections_active / hikaricp_connections_max >= 0.2",
    "1 - node_filesystem_avail_bytes / node_filesystem_size_bytes",
    "hikaricp_connections_active > hikaricp_connections_pending",
    "hikaricp_connections_active unless on(pod) (container_memory_working_set_bytes > 4e8)",
    "hikaricp_connections_pending > 0 or hikaricp_connections_active > 10",
    "hikaricp_connections_active and on(service) topk(3, sum by (service) (rate(http_requests_total[5m])))",
    "topk(3, container_memory_working_set_bytes)",
    "bottomk by (node) (1, node_filesystem_avail_bytes)",
    "avg by (service) (container_memory_working_set_bytes)",
    "stddev by (service) (container_memory_working_set_bytes)",
    "stdvar(hikaricp_connections_active)",
    "quantile by (service) (0.9, container_memory_working_set_bytes)",
    "group by (service, node) (container_memory_working_set_bytes)",
    "count by (service) (container_memory_working_set_bytes > 3e8)",
    "min(probe_ssl_earliest_cert_expiry - time()) / 86400",
    "timestamp(container_memory_working_set_bytes{service=\"cart\"})",
    "time() - timestamp(container_memory_working_set_bytes)",
    "timestamp(sum by (service) (hikaricp_connections_active))",
    "clamp(hikaricp_connections_active, 5, 20)",
    "clamp_min(hikaricp_connections_active - 10, 0) + clamp_max(hikaricp_connections_active, 10)",
    "round(container_memory_working_set_bytes / 1048576, 0.5)",
    "ceil(ln(container_memory_working_set_bytes)) + floor(sqrt(abs(-container_memory_working_set_bytes)))",
    "exp(hikaricp_connections_active / 100) ^ 2 % 3",
    "log2(hikaricp_connections_max) + log10(hikaricp_connections_max)",
    "scalar(sum(hikaricp_connections_active)) / 2 - -3",
    "vector(scalar(max(hikaricp_connections_max))) > 1",
    "label_replace(container_memory_working_set_bytes, \"app\", \"$1-x\", \"pod\", \"(.*)-[^-]+-[^-]+\")",
    "absent(nothing_like_it{job=\"a\", pod=~\".*\", env=\"b\", env=\"c\"})",
    "absent(sum(nothing_like_it))",
    "sum by (client) (rate(traces_service_graph_request_total{server=\"cart\"}[5m]))",
    "0.05 < sum(rate(http_requests_total[5m])) by (service)",
    "(time() % 3600) / 60",
];

/// Expressions that some data does not fit: Prometheus refuses them, and so do we.
const AMBIGUOUS: &[&str] = &[
    "container_memory_working_set_bytes + on(service) container_memory_working_set_bytes",
    "hikaricp_connections_active * on(service) sum by (service) (hikaricp_connections_active)",
    "rate({__name__=~\"hikaricp_connections_(active|pending|max)\"}[5m])",
];

struct Served {
    url: String,
    store: SampleStore,
}

impl Served {
    /// Asks both; panics where they differ. Returns how many elements the answer had.
    fn compare(&self, text: &str, at: Timestamp) -> usize {
        let expression = Expression::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let ours = expression.eval(&self.store, at).map_err(|e| e.to_string());
        let (ours, theirs) = match (ours, instant_query(&self.url, text, at)) {
            (Ok(ours), Ok(theirs)) => (ours, theirs),
            (Err(_), Err(_)) => return 1,
            (ours, theirs) => panic!("{text} at {at}: one side refuses: ours {ours:?}, theirs {theirs:?}"),
        };
        let ours: BTreeMap<LabelSet, f64> = ours.into_iter().collect();
        let labels = |of: &BTreeMap<LabelSet, f64>| of.keys().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(labels(&ours), labels(&theirs), "{text} at {at}: other elements than Prometheus has");
        for (labels, their) in &theirs {
            let our = ours[labels];
            let equal = our == *their
                || (our.is_nan() && their.is_nan())
                || (our - their).abs() <= TOLERANCE * our.abs().max(their.abs());
            assert!(equal, "{text} at {at}, {labels}: {our} is not Prometheus' {their}");
        }
        theirs.len()
    }

    /// Compares every expression at every time, and adds up how many elements there were to compare.
    fn compare_all(&self, expressions: &[String], times: &[Timestamp], compared: &mut BTreeMap<String, usize>) {
        for text in expressions {
            let elements: usize = times.iter().map(|at| self.compare(text, *at)).sum();
            *compared.entry(text.clone()).or_default() += elements;
        }
    }
}

/// An agreement over nothing proves nothing.
fn refuse_empty(compared: &BTreeMap<String, usize>) {
    let empty: Vec<&String> = compared.iter().filter(|(_, n)| **n == 0).map(|(text, _)| text).collect();
    assert!(empty.is_empty(), "no elements at any time: {empty:#?}");
    println!("{} expressions, {} elements compared", compared.len(), compared.values().sum::<usize>());
}

#[test]
fn every_expression_gives_what_prometheus_gives_over_a_shop() {
    let tsdb = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/histories/1/tsdb");
    if !Path::new(tsdb).is_dir() {
        println!("skipped: no history at {tsdb}");
        return;
    }
    let copy = tempfile::tempdir().unwrap();
    servers::copy_tree(Path::new(tsdb), copy.path()).unwrap();
    let Some(server) = servers::prometheus("global: {}\n", Some(copy.path())).unwrap() else { return };
    let mut expressions: Vec<String> = OVER_THE_SHOP.iter().chain(AMBIGUOUS).map(|e| (*e).to_owned()).collect();
    for name in NAMES {
        let queries = preset(name).unwrap().into_iter().flat_map(|s| s.queries()).map(|q| q.promql);
        expressions.extend(queries);
    }
    let mut compared = BTreeMap::new();
    // Two hours around pods killed and restarted, and two around an outage of the monitoring itself.
    for end in [1_767_454_200, 1_767_963_000] {
        let end = Timestamp::from_seconds(end);
        let store = raw_samples(&server.url(), end, "3h");
        println!("{} series, {} samples up to {end}", store.series_count(), store.sample_count());
        let served = Served { url: server.url(), store };
        let back = [0, 61_003, 1_234_567, 2_400_000, 3_600_000, 4_000_001, 7_199_000];
        let times = back.map(|ms| Timestamp::from_millis(end.millis() - ms));
        served.compare_all(&expressions, &times, &mut compared);
    }
    refuse_empty(&compared);
}

#[test]
fn staleness_resets_gaps_and_odd_values_are_read_as_prometheus_reads_them() {
    let Some(server) = servers::prometheus("global: {}\n", None).unwrap() else { return };
    let series = odd_series(7);
    let url = format!("{}/api/v1/write", server.url());
    let answer = post(&url, &remote_write::HEADERS, &remote_write::encode_series(&series)).unwrap();
    assert_eq!(answer.status / 100, 2, "{}", answer.body_text());
    let mut store = SampleStore::new(1000);
    for series in &series {
        for sample in &series.samples {
            store.push(&series.labels, *sample).unwrap();
        }
    }
    let served = Served { url: server.url(), store };
    let range = |f: &str| format!("{f}(odd[7m])");
    let mut expressions: Vec<String> = [
        "rate",
        "increase",
        "irate",
        "delta",
        "idelta",
        "deriv",
        "avg_over_time",
        "min_over_time",
        "max_over_time",
        "sum_over_time",
        "count_over_time",
        "last_over_time",
        "stddev_over_time",
        "present_over_time",
        "changes",
        "resets",
    ]
    .map(range)
    .to_vec();
    expressions.extend(
        [
            "odd",
            "odd offset 3m",
            "sum by (kind) (odd)",
            "avg by (kind) (odd)",
            "max(odd)",
            "min(odd)",
            "count(odd)",
            "stddev(odd{kind!=\"infinite\"})",
            "quantile(0.3, odd{kind!=\"infinite\"})",
            "topk(4, odd)",
            "-odd",
            "quantile_over_time(0.4, odd[7m])",
            "predict_linear(odd[7m], 600)",
            "odd > bool 3",
            "2 ^ odd",
            "odd % 4",
            "timestamp(odd)",
            "absent(odd{kind=\"gauge\", copy=\"0\"})",
            "round(odd, 4)",
            "clamp(odd, -1, 5)",
            "sgn(odd)",
            "odd{kind=\"counter\"} == ignoring(kind) group_left odd{kind=\"counter\"}",
            "odd != odd",
            "sqrt(odd)",
            "ln(odd)",
            "odd / odd",
            "odd{kind=\"counter\"} unless odd > 20",
        ]
        .map(str::to_owned),
    );
    let mut times: Vec<Timestamp> = (0..40).map(|i| Timestamp::from_millis(START_MS + i * 77_777)).collect();
    // The edges of the look-back and of the window, to the millisecond: both belong to it.
    for pair in series.iter().flat_map(|s| s.samples.windows(2)) {
        if pair[1].at.seconds_since(pair[0].at) > 420.0 {
            times.extend([300_000, 300_001, 420_000, 420_001].map(|ms| pair[0].at + Duration::from_millis(ms)));
        }
    }
    let mut compared = BTreeMap::new();
    served.compare_all(&expressions, &times, &mut compared);
    refuse_empty(&compared);
}

const START_MS: i64 = 1_767_225_600_000;

/// 45 minutes of series as they are in the worst of real life. Values are multiples of 0.25, so that
/// sums are exact in any order.
fn odd_series(seed: u64) -> Vec<Series> {
    let noise = Noise::new(seed);
    let mut all = Vec::new();
    for (k, kind) in ["gauge", "counter", "infinite", "ending"].into_iter().enumerate() {
        for copy in 0..3 {
            let stream = (k * 10 + copy) as u64;
            let labels = LabelSet::from([(METRIC_NAME, "odd"), ("kind", kind), ("copy", &*copy.to_string())]);
            let (mut samples, mut counter) = (Vec::new(), 0.0);
            for i in 0..180 {
                let draw = noise.uniform(stream, i);
                let jitter = (noise.uniform(stream + 100, i) * 4000.0) as i64;
                let quarter = (noise.normal(stream + 200, i) * 40.0).round() / 4.0;
                counter = if draw < 0.03 { 0.0 } else { counter + quarter.abs() };
                let value = match kind {
                    "gauge" => quarter,
                    "infinite" if draw > 0.95 => f64::INFINITY,
                    "infinite" if draw > 0.9 => f64::NEG_INFINITY,
                    "infinite" if draw > 0.8 => f64::NAN,
                    "ending" if draw > 0.7 => f64::from_bits(STALE_NAN_BITS),
                    _ => counter,
                };
                // Lost scrapes, and one long gap.
                if draw > 0.1 && !(60..100).contains(&(i + copy as i64 * 10)) {
                    let at = Timestamp::from_millis(START_MS + i * 15_000 + jitter);
                    samples.push(Sample { at, value });
                }
            }
            all.push(Series { labels, samples });
        }
    }
    all
}

fn instant_query(url: &str, text: &str, at: Timestamp) -> Result<BTreeMap<LabelSet, f64>, String> {
    let result = query(url, text, at)?;
    if result["resultType"] == "scalar" {
        return Ok(BTreeMap::from([(LabelSet::new(), number(&result["result"][1]))]));
    }
    let elements = result["result"].as_array().unwrap();
    Ok(elements.iter().map(|e| (labels(&e["metric"]), number(&e["value"][1]))).collect())
}

/// Every sample in the `range` up to `end`, at its own time.
fn raw_samples(url: &str, end: Timestamp, range: &str) -> SampleStore {
    let mut store = SampleStore::new(100_000);
    let names = query(url, "count by (__name__) ({__name__=~\".+\"})", end).unwrap();
    for name in names["result"].as_array().unwrap() {
        let name = name["metric"][METRIC_NAME].as_str().unwrap();
        let result = query(url, &format!("{name}[{range}]"), end).unwrap();
        for series in result["result"].as_array().unwrap() {
            let labels = labels(&series["metric"]);
            for point in series["values"].as_array().unwrap() {
                let at = Timestamp::from_millis((point[0].as_f64().unwrap() * 1000.0).round() as i64);
                store.push(&labels, Sample { at, value: number(&point[1]) }).unwrap();
            }
        }
    }
    store
}

fn query(url: &str, text: &str, at: Timestamp) -> Result<Value, String> {
    let encoded: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
    let millis = at.millis();
    let time = format!("{}.{:03}", millis / 1000, millis % 1000);
    let answer = get(&format!("{url}/api/v1/query?time={time}&query={encoded}")).unwrap();
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap();
    if body["status"] == "success" { Ok(body["data"].take()) } else { Err(body["error"].to_string()) }
}

fn labels(metric: &Value) -> LabelSet {
    metric.as_object().unwrap().iter().map(|(k, v)| (k.clone(), v.as_str().unwrap())).collect()
}

fn number(text: &Value) -> f64 {
    text.as_str().unwrap().parse().unwrap()
}
