//! Raw samples over the query API and by remote read, against what a real Prometheus and a real VictoriaMetrics hold:
//! the samples of the blocks as `promtool` dumps them.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use forewarn_datasets::{
    Fetch, HistorySource, PrometheusOptions, PrometheusSource, RawSeries, SampleQuery, SampleSource,
};
use forewarn_features::promql::Expression;
use forewarn_schema::{
    BucketSpan, Buckets, LabelSet, METRIC_NAME, NativeHistogram, STALE_NAN_BITS, Sample, Series, Step, TimeRange,
    Timestamp,
};
use forewarn_testkit::native_histograms::{self, Counts};
use forewarn_testkit::{http, remote_write, servers};
use support::{options, presets, range, samples, selector, shop, shop_with};

/// Series as the dump names them, with times and the values' bits.
type Dumped = BTreeMap<String, Vec<(i64, u64)>>;

/// Two days, whose ends are at no multiple of anything.
fn days() -> TimeRange {
    range("2026-01-03T07:13:11Z", "2026-01-05T07:13:11Z")
}

fn source(url: &str, fetch: Fetch) -> PrometheusSource {
    PrometheusSource::new(PrometheusOptions { fetch, ..options(url) }).unwrap()
}

/// Every metric that a preset looks at.
fn metrics() -> Vec<String> {
    let signals = presets(&["kubernetes", "hikaricp", "http", "node", "blackbox"]);
    let mut names = BTreeSet::new();
    for query in signals.queries() {
        let expression = Expression::parse(&query.promql).unwrap();
        names.extend(expression.selectors().iter().filter_map(|s| s.metric_name().map(str::to_owned)));
    }
    assert!(names.len() >= 10, "{names:?}");
    names.into_iter().collect()
}

/// One selector a metric, and one that selects a part of another.
fn query() -> SampleQuery {
    let mut selectors: Vec<_> = metrics().iter().map(|name| selector(name, &[])).collect();
    selectors.push(selector("hikaricp_connections_max", &[("service", "user")]));
    SampleQuery { selectors, range: days() }
}

/// What `promtool tsdb dump` says of the blocks.
fn dump(tsdb: &Path) -> Dumped {
    let range = days();
    let output = Command::new("promtool")
        .args(["tsdb", "dump"])
        .arg(format!("--match={{__name__=~\"{}\"}}", metrics().join("|")))
        .arg(format!("--min-time={}", range.start.millis()))
        .arg(format!("--max-time={}", range.end.millis() - 1))
        .arg(tsdb)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut dumped = Dumped::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (labels, rest) = line.rsplit_once("} ").unwrap();
        let (value, at) = rest.split_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        dumped.entry(format!("{labels}}}")).or_default().push((at.parse().unwrap(), bits(value)));
    }
    dumped
}

/// A dump has one word for every NaN.
fn bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

fn in_the_dumps_words(series: &[RawSeries]) -> Dumped {
    assert!(series.windows(2).all(|w| w[0].labels < w[1].labels), "series must be sorted, each once");
    let name = |labels: &LabelSet| {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        format!("{{{}}}", labels.join(", "))
    };
    series
        .iter()
        .map(|s| (name(&s.labels), s.samples.iter().map(|s| (s.at.millis(), bits(s.value))).collect()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_are_those_of_the_blocks_by_either_way() {
    let Some((server, copy)) = shop() else { return };
    let expected = dump(copy.path());
    let count: usize = expected.values().map(Vec::len).sum();
    assert!(count > 500_000, "{count}");
    for fetch in [Fetch::RemoteRead, Fetch::Samples] {
        let source = source(&server.url(), fetch);
        let before = std::time::Instant::now();
        let (series, provenance) = samples(&source, &query()).await.unwrap();
        eprintln!("{count} samples of {} series by {fetch} in {:?}", series.len(), before.elapsed());
        assert!(in_the_dumps_words(&series) == expected, "by {fetch}");
        assert_eq!((provenance.resolution_ms, provenance.skipped.len()), (0, 0));
        assert_eq!(provenance.from.len(), metrics().len(), "a part of another selector is not asked for");
        let listed = SampleSource::series(&source, &query()).await.unwrap();
        let found: Vec<LabelSet> = series.into_iter().map(|s| s.labels).collect();
        assert!(found.iter().all(|labels| listed.binary_search(labels).is_ok()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_over_the_cap_are_fetched_in_parts_and_give_the_same() {
    let Some((server, _copy)) = shop() else { return };
    let query = SampleQuery { selectors: vec![selector("container_memory_working_set_bytes", &[])], range: days() };
    let whole = samples(&source(&server.url(), Fetch::Samples), &query).await.unwrap().0;
    assert!(!whole.is_empty());
    for fetch in [Fetch::RemoteRead, Fetch::Samples] {
        let small = PrometheusOptions { fetch, max_answer_bytes: 64 << 10, ..options(&server.url()) };
        let (parts, _) = samples(&PrometheusSource::new(small).unwrap(), &query).await.unwrap();
        assert!(parts == whole, "by {fetch}");
    }
}

#[tokio::test]
async fn the_best_that_a_server_can_is_found_out() {
    if let Some(prometheus) = servers::prometheus("global: {scrape_interval: 1m}\n", None).unwrap() {
        let source = source(&prometheus.url(), Fetch::Auto);
        assert_eq!(source.fetch_used().await.unwrap(), Fetch::RemoteRead);
    }
    if let Some(victoria) = servers::victoria_metrics().unwrap() {
        assert_eq!(source(&victoria.url(), Fetch::Auto).fetch_used().await.unwrap(), Fetch::Samples);
    }
}

#[tokio::test]
async fn a_source_of_steps_gives_no_samples_and_says_which_key_to_set() {
    let source = source("http://127.0.0.1:1", Fetch::Steps);
    let query = SampleQuery { selectors: vec![selector("up", &[])], range: days() };
    let error = samples(&source, &query).await.unwrap_err().to_string();
    assert!(error.contains("fetch = \"auto\""), "{error}");
}

/// A server with a series that ended, a plain NaN, and an external label.
#[tokio::test]
async fn staleness_markers_come_by_remote_read_alone_and_bit_by_bit() {
    let config = "global: {scrape_interval: 1m, external_labels: {cluster: eu}}\n";
    let Some(server) = servers::prometheus(config, None).unwrap() else { return };
    let now = Timestamp::from_millis(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64);
    let start = Timestamp::from_millis(now.millis() - 600_000);
    let written = [0.1 + 0.2, f64::from_bits(0x7ff8_0000_0000_0001), f64::from_bits(STALE_NAN_BITS), f64::INFINITY];
    let at = |k: usize| Timestamp::from_millis(start.millis() + k as i64 * 60_000 + 7);
    let series = Series {
        labels: LabelSet::from([(METRIC_NAME, "ended"), ("job", "a \"b\" \\ é")]),
        samples: written.iter().enumerate().map(|(k, value)| Sample { at: at(k), value: *value }).collect(),
    };
    let url = format!("{}/api/v1/write", server.url());
    let body = remote_write::encode_series(std::slice::from_ref(&series));
    assert_eq!(http::post(&url, &remote_write::HEADERS, &body).unwrap().status, 204);
    let mut matchers = selector("ended", &[("job", "a \"b\" \\ é")]);
    let query = |selectors, from: usize, to: usize| SampleQuery {
        selectors,
        range: TimeRange { start: at(from), end: at(to) },
    };
    let seen = |series: &RawSeries| -> Vec<(i64, u64)> {
        series.samples.iter().map(|s| (s.at.millis(), s.value.to_bits())).collect()
    };
    let all: Vec<(i64, u64)> = series.samples.iter().map(|s| (s.at.millis(), s.value.to_bits())).collect();

    let remote = source(&server.url(), Fetch::RemoteRead);
    let (found, _) = samples(&remote, &query(vec![matchers.clone()], 0, 4)).await.unwrap();
    assert_eq!(seen(&found[0]), all);
    // The server's own label: as Thanos would show it.
    assert_eq!(found[0].labels.get("cluster"), Some("eu"));

    let instant = source(&server.url(), Fetch::Samples);
    let (found, _) = samples(&instant, &query(vec![matchers.clone()], 0, 4)).await.unwrap();
    assert_eq!(seen(&found[0]), [all[0], all[1], all[3]]);
    assert_eq!(found[0].labels, series.labels);

    // Half-open, to the millisecond.
    for source in [&remote, &instant] {
        let (found, _) = samples(source, &query(vec![matchers.clone()], 1, 3)).await.unwrap();
        assert_eq!(seen(&found[0]).first(), Some(&all[1]));
        assert!(seen(&found[0]).last() < Some(&all[3]));
        let nothing = query(vec![matchers.clone()], 2, 2);
        assert!(samples(source, &nothing).await.unwrap().0.is_empty());
    }
    matchers.pop();
    assert_eq!(SampleSource::series(&instant, &query(vec![matchers], 0, 4)).await.unwrap(), [series.labels]);
}

/// Histograms that grow, and the end of the series.
fn histograms() -> Vec<NativeHistogram> {
    let spans = vec![BucketSpan { offset: -2, length: 2 }, BucketSpan { offset: 3, length: 1 }];
    let grown = |k: f64| NativeHistogram {
        schema: 1,
        zero_threshold: 0.001,
        zero_count: k,
        count: 8.0 * k,
        sum: 0.1 * k,
        positive: Buckets { spans: spans.clone(), counts: vec![k, 2.0 * k, 3.0 * k] },
        negative: Buckets { spans: vec![BucketSpan { offset: 0, length: 1 }], counts: vec![k] },
        ..NativeHistogram::default()
    };
    let stale = NativeHistogram { sum: f64::from_bits(STALE_NAN_BITS), ..NativeHistogram::default() };
    vec![grown(1.0), grown(2.0), grown(5.0), stale]
}

#[tokio::test]
async fn native_histograms_come_by_remote_read_and_are_refused_by_name_otherwise() {
    let config = "global: {scrape_interval: 1m}\n";
    let flags = ["--enable-feature=native-histograms"];
    let Some(server) = servers::prometheus_with(config, None, &flags).unwrap() else { return };
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let at = |k: usize| Timestamp::from_millis(now - 600_000 + k as i64 * 60_000);
    let labels = LabelSet::from([(METRIC_NAME, "latency"), ("job", "api")]);
    let mut sent = remote_write::TimeSeries::new(&labels);
    // Whole numbers alone: what 2.42 is sent as floats, its own query API does not have afterwards.
    for (k, histogram) in histograms().iter().enumerate() {
        sent.histograms.push(native_histograms::Histogram::new(at(k).millis(), histogram, Counts::Integer));
    }
    let url = format!("{}/api/v1/write", server.url());
    assert_eq!(
        http::post(
            &url,
            &remote_write::HEADERS,
            &remote_write::compress(&remote_write::WriteRequest { timeseries: vec![sent] })
        )
        .unwrap()
        .status,
        204
    );

    let range = TimeRange { start: at(0), end: at(9) };
    let query = SampleQuery { selectors: vec![selector("latency", &[])], range };
    let (found, provenance) = samples(&source(&server.url(), Fetch::RemoteRead), &query).await.unwrap();
    assert_eq!((found.len(), &found[0].labels, provenance.skipped.len()), (1, &labels, 0));
    assert!(found[0].samples.is_empty());
    assert_eq!(found[0].histograms.len(), 4, "{:?}", found[0].histograms);
    for (k, (found, wanted)) in found[0].histograms.iter().zip(&histograms()).enumerate() {
        assert_eq!(found.at, at(k));
        if wanted.is_stale() {
            assert!(found.histogram.is_stale());
        } else {
            // What is known of a reset is the server's to say.
            let found = NativeHistogram { reset_hint: wanted.reset_hint, ..(*found.histogram).clone() };
            assert_eq!(&found, wanted);
        }
    }
    let error = samples(&source(&server.url(), Fetch::Samples), &query).await.unwrap_err().to_string();
    assert!(error.contains("native histograms") && error.contains("latency"), "{error}");
}

/// In front of a Prometheus, as a server that does not stream would answer: the question without its first wish. And
/// with a limit that a day is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_stream_gives_the_same_samples_within_its_limit() {
    let Some((server, _copy)) = shop_with(&["--storage.remote.read-sample-limit=20000"]) else { return };
    let upstream = server.url();
    let refused = Arc::new(AtomicUsize::new(0));
    let limited = Arc::clone(&refused);
    let front = http::TinyServer::start(move |request| {
        let asked = snap::raw::Decoder::new().decompress_vec(&request.body).unwrap();
        // Field 2 twice: 1 for chunks in frames, 0 for samples.
        let rest = asked.strip_suffix(&[0x10, 1, 0x10, 0]).unwrap();
        let body = snap::raw::Encoder::new().compress_vec(&[rest, &[0x10, 0]].concat()).unwrap();
        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "snappy")];
        let answer = http::post(&format!("{upstream}{}", request.target), &headers, &body).unwrap();
        match answer.status {
            200 => assert_eq!(answer.content_type, "application/x-protobuf"),
            _ => drop(limited.fetch_add(1, Ordering::SeqCst)),
        }
        answer
    })
    .unwrap();
    let query = SampleQuery { selectors: vec![selector("hikaricp_connections_active", &[])], range: days() };
    let streamed = samples(&source(&server.url(), Fetch::RemoteRead), &query).await.unwrap().0;
    let whole = samples(&source(&front.url(""), Fetch::RemoteRead), &query).await.unwrap().0;
    assert!(!whole.is_empty() && whole == streamed);
    assert!(refused.load(Ordering::SeqCst) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_gone_ends_it_without_an_error() {
    let Some((server, _copy)) = shop() else { return };
    for (fetch, received) in [(Fetch::RemoteRead, 0), (Fetch::RemoteRead, 1), (Fetch::Samples, 1)] {
        let source = source(&server.url(), fetch);
        let (sink, mut receiver) = tokio::sync::mpsc::channel(1);
        let query = query();
        let receive = async {
            for _ in 0..received {
                assert!(receiver.recv().await.is_some());
            }
            drop(receiver);
        };
        let (done, ()) = tokio::join!(source.samples(&query, sink, &forewarn_datasets::NoProgress), receive);
        done.unwrap();
    }
}

/// Relative difference at most what VictoriaMetrics' decimal storage loses.
fn alike(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victoria_metrics_gives_the_same_samples_and_steps() {
    let Some((server, _copy)) = shop() else { return };
    let Some(victoria) = servers::victoria_metrics().unwrap() else { return };
    let names = ["container_memory_working_set_bytes", "hikaricp_connections_active", "http_requests_total"];
    let range = range("2026-01-03T00:00:00Z", "2026-01-03T12:00:00Z");
    let query = SampleQuery { selectors: names.iter().map(|name| selector(name, &[])).collect(), range };
    let (expected, _) = samples(&source(&server.url(), Fetch::RemoteRead), &query).await.unwrap();
    assert!(expected.len() > 20, "{}", expected.len());
    let series: Vec<Series> =
        expected.iter().map(|s| Series { labels: s.labels.clone(), samples: s.samples.clone() }).collect();
    for part in series.chunks(50) {
        let url = format!("{}/api/v1/write", victoria.url());
        assert_eq!(http::post(&url, &remote_write::HEADERS, &remote_write::encode_series(part)).unwrap().status, 204);
    }
    http::get(&format!("{}/internal/force_flush", victoria.url())).unwrap();

    let source_of_samples = source(&victoria.url(), Fetch::Auto);
    let (found, _) = samples(&source_of_samples, &query).await.unwrap();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.labels, expected.labels);
        let times = |s: &RawSeries| s.samples.iter().map(|s| s.at.millis()).collect::<Vec<_>>();
        assert_eq!(times(found), times(expected), "{}", found.labels);
        let all_alike = found.samples.iter().zip(&expected.samples).all(|(a, b)| alike(a.value, b.value));
        assert!(all_alike, "{}", found.labels);
    }

    // Where both mean the same: a window that is written out. The first hour lacks what came before the import.
    let hours = TimeRange { start: Timestamp::from_millis(range.start.millis() + 3_600_000), ..range };
    for promql in [
        "max_over_time(container_memory_working_set_bytes[5m])",
        "sum by (service) (last_over_time(hikaricp_connections_active[5m]))",
        "count_over_time(http_requests_total[10m])",
        "quantile by (pod) (0.5, avg_over_time(container_memory_working_set_bytes[5m]))",
    ] {
        let fetch = async |url: &str| source(url, Fetch::Steps).fetch(promql, hours, Step::MINUTE).await.unwrap();
        let (ours, theirs) = (fetch(&server.url()).await, fetch(&victoria.url()).await);
        // MetricsQL keeps the metric's name after functions that do not change what a value means.
        let nameless = |series: &[Series]| -> BTreeMap<LabelSet, Vec<Sample>> {
            series.iter().map(|s| (s.labels.without(&[METRIC_NAME]), s.samples.clone())).collect()
        };
        let (ours, theirs) = (nameless(&ours), nameless(&theirs));
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{promql}");
        assert!(!ours.is_empty(), "{promql}");
        for (labels, ours) in &ours {
            let theirs = &theirs[labels];
            assert_eq!(ours.len(), theirs.len(), "{promql} of {labels}");
            let differ = ours.iter().zip(theirs).find(|(a, b)| a.at != b.at || !alike(a.value, b.value));
            assert!(differ.is_none(), "{promql} of {labels}: {differ:?}");
        }
    }
}
