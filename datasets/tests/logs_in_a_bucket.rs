//! Logs in S3, as moto serves it: written as Fluent Bit writes them, well and badly, and counted.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

use std::collections::BTreeMap;
use std::io::Write;

use bytes::Bytes;
use forewarn_datasets::{Dataset, LogsOptions, LogsSource, NoProgress, SampleQuery, SampleSource};
use forewarn_features::SignalSet;
use forewarn_features::promql::{Expression, SampleStore};
use forewarn_schema::{TimeRange, Timestamp};
use forewarn_storage::Store;
use forewarn_testkit::servers;
use tokio::sync::mpsc;

/// 2026-01-02T10:00:00Z.
const TEN: i64 = 1_767_348_000;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A line of a service `second` seconds after ten; `what` makes it another record.
fn line(service: &str, level: &str, second: i64, what: &str) -> String {
    let at = Timestamp::from_seconds(TEN + second).to_rfc3339();
    format!(
        "{{\"date\":\"{at}\",\"log\":\"{level} {what} took {second}ms\\n\",\"kubernetes\":{{\"pod_name\":\"{service}-1\",\"labels\":{{\"app\":\"{service}\"}}}}}}\n"
    )
}

/// One line a second of a service for ten minutes, every `nth` an error.
fn minutes(service: &str, nth: i64) -> Vec<String> {
    (0..600).map(|i| line(service, if i % nth == 0 { "ERROR" } else { "INFO" }, i, "order 7")).collect()
}

fn objects() -> Vec<(&'static str, Vec<u8>)> {
    let (cart, pay) = (minutes("cart", 20), minutes("pay", 4));
    let wrong = ["not json\n", "{\"date\":\"soon\",\"log\":\"x\"}\n", "[]\n", "\r\n"].concat();
    // Incompressible enough that half of the packed bytes are about half of the lines.
    let cut: Vec<String> = (0..600_i64)
        .map(|i| line("ship", "INFO", i, &format!("{:x}", (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64))))
        .collect();
    let cut = gzip(cut.concat().as_bytes());
    vec![
        // The suffix says nothing: a multipart upload takes it from the key's format.
        ("fluent-bit/kube.cart/2026/01/02/10/00/00.gz", cart[..300].concat().into_bytes()),
        ("fluent-bit/kube.cart/2026/01/02/10/05/00", gzip(cart[300..].concat().as_bytes())),
        ("fluent-bit/kube.pay/2026/01/02/10/05/00-objectAbC", zstd::encode_all(pay.concat().as_bytes(), 3).unwrap()),
        // The same upload again, after a crash, with another part of it.
        ("fluent-bit/kube.pay/2026/01/02/10/07/00-objectXyZ", gzip(pay[200..500].concat().as_bytes())),
        ("elsewhere", [wrong.as_bytes(), &cart[0].as_bytes()[..30]].concat()),
        ("fluent-bit/kube.ship/cut", cut[..cut.len() / 2].to_vec()),
    ]
}

async fn samples(source: &LogsSource, expression: &Expression, range: TimeRange) -> SampleStore {
    let selectors = expression.selectors().iter().map(|s| s.label_matchers()).collect();
    let query = SampleQuery { selectors, range };
    let (sender, mut receiver) = mpsc::channel(10_000);
    let provenance = source.samples(&query, sender, &NoProgress).await.unwrap();
    assert_eq!(provenance.from.len(), 1, "the counts of one day: {provenance:?}");
    let mut store = SampleStore::new(1000);
    while let Some(series) = receiver.recv().await {
        for sample in series.samples {
            store.push(&series.labels, sample).unwrap();
        }
    }
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_in_a_bucket_are_an_error_rate() {
    let Some(server) = servers::s3().unwrap() else { return };
    let bucket = std::process::Command::new("python3")
        .args(["-c", "import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], method='PUT'))"])
        .arg(format!("{}/logs", server.url()))
        .status();
    if !bucket.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no python3 to make a bucket with");
        return;
    }
    let endpoint = server.url();
    let s3 = [
        ("aws_endpoint", endpoint.as_str()),
        ("aws_access_key_id", "test"),
        ("aws_secret_access_key", "test"),
        ("aws_region", "us-east-1"),
    ];
    let bucket = Store::open_with("s3://logs/cluster", &s3).unwrap();
    for (key, bytes) in objects() {
        bucket.put(key, Bytes::from(bytes)).await.unwrap();
    }
    // Counts in the same bucket, beside the logs.
    let dataset = Dataset::open_with("s3://logs/forewarn", &s3).await.unwrap();
    let options = LogsOptions { url: "s3://logs/cluster".to_owned(), ..LogsOptions::default() };
    let source = LogsSource::new_with(options, &dataset, &s3).unwrap();
    assert_eq!(source.probe().await.unwrap().kind, "logs");

    let survey = source.survey().await.unwrap();
    assert_eq!(survey.objects, 6);
    assert!(survey.services.iter().any(|s| s == "pay") && survey.pods >= 2, "{survey:?}");

    let summary = source.take_in().await.unwrap();
    assert_eq!((summary.objects, summary.unreadable_objects), (6, 0));
    let of_ship = summary.lines - 1200;
    assert!((100..600).contains(&of_ship), "half of a packed object is read: {of_ship} lines");
    assert_eq!(source.take_in().await.unwrap().objects, 0, "nothing is read twice");

    // The preset's error rate at ten past ten, over the five minutes before.
    let signals = SignalSet::new(&["logs".to_owned()], vec![]).unwrap();
    let signal = signals.get("log_errors").unwrap();
    let expression = Expression::parse(&signal.value).unwrap();
    let at = Timestamp::from_seconds(TEN + 600);
    let extent = source.extent().await.unwrap().unwrap();
    assert_eq!(extent, TimeRange::new(Timestamp::from_seconds(TEN), at).unwrap());
    let store = samples(&source, &expression, extent).await;
    let rates: BTreeMap<String, f64> = expression
        .eval(&store, at)
        .unwrap()
        .into_iter()
        .map(|(labels, value)| (labels.get("service").unwrap().to_owned(), value))
        .collect();
    assert_eq!((rates["cart"], rates["pay"]), (0.05, 0.25), "one of twenty and one of four: {rates:?}");

    let query = SampleQuery { selectors: vec![vec![]], range: extent };
    let state = source.state(&query).await.unwrap();
    // An upload whose key comes again with other bytes.
    bucket
        .put("fluent-bit/kube.pay/2026/01/02/10/05/00-objectAbC", Bytes::from(line("pay", "INFO", 5, "x")))
        .await
        .unwrap();
    let summary = source.take_in().await.unwrap();
    assert_eq!((summary.objects, summary.changed_objects, summary.lines), (1, 1, 1));
    assert_ne!(source.state(&query).await.unwrap(), state);
    drop(server);
    assert!(source.take_in().await.unwrap_err().is_unreachable());
}
