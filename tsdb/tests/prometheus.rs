//! Blocks that a real Prometheus 2.42 wrote itself: from scraping, from remote write, and with deletions.
#![allow(clippy::unwrap_used, reason = "a test panics to fail")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use forewarn_schema::{BucketSpan, Buckets, LabelSet, NativeHistogram, ResetHint, STALE_NAN_BITS};
use forewarn_testkit::exporter::{LeakParams, LeakingExporter};
use forewarn_testkit::native_histograms::{Counts, Histogram};
use forewarn_testkit::remote_write::TimeSeries;
use forewarn_testkit::servers::{self, RunningServer};
use forewarn_testkit::tsdb::{BlockWriter, IndexVersion};
use forewarn_testkit::{http, remote_write};
use forewarn_tsdb::{Block, Samples};
use support::{metric, written};

const FLAGS: [&str; 2] = ["--web.enable-admin-api", "--enable-feature=native-histograms"];

fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
    let answer = http::post(url, headers, body).unwrap();
    assert!(answer.status < 300, "{url}: {} {}", answer.status, answer.body_text());
    answer.body_text()
}

/// The folder of blocks that the server writes when asked for a snapshot.
fn snapshot(server: &RunningServer, tsdb: &Path) -> PathBuf {
    let answer = post(&format!("{}/api/v1/admin/tsdb/snapshot", server.url()), &[], b"");
    let name = answer.split("\"name\":\"").nth(1).unwrap().split('"').next().unwrap();
    let folder = tsdb.join("snapshots").join(name);
    // promtool wants it, and makes the head's folder itself.
    std::fs::create_dir(folder.join("wal")).unwrap();
    folder
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Waits until a query has a result.
fn wait_until(server: &RunningServer, query: &str) {
    let until = Instant::now() + Duration::from_secs(30);
    let url = format!("{}/api/v1/query?query={query}", server.url());
    while !http::get(&url).unwrap().body_text().contains("\"metric\"") {
        assert!(Instant::now() < until, "{query} has no result: {}", server.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn scraped_series_end_with_the_staleness_marker_bit_for_bit() {
    let params = LeakParams {
        service: "cart".to_owned(),
        normal: 10.0,
        limit: 50.0,
        onset: Duration::from_secs(1),
        per_second: 1.0,
    };
    let exporter = LeakingExporter::start(params).unwrap();
    let config = format!(
        "global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\nscrape_configs: [{{job_name: cart, static_configs: [{{targets: ['{}']}}]}}]\n",
        exporter.target()
    );
    let dir = tempfile::tempdir().unwrap();
    let tsdb = dir.path().join("tsdb");
    let Some(server) = servers::prometheus_with(&config, Some(&tsdb), &FLAGS).unwrap() else { return };
    wait_until(&server, "count_over_time(hikaricp_connections_active%5B1m%5D)>8");
    drop(exporter);
    wait_until(&server, "count_over_time((up==0)%5B1m%3A250ms%5D)>4");
    let folder = snapshot(&server, &tsdb);

    let read = support::read_folder(&folder);
    let named = |name: &str| read.iter().find(|(labels, _)| labels.get("__name__") == Some(name)).unwrap().1;
    let active = named("hikaricp_connections_active");
    assert!(active.len() > 8);
    let (last, before) = active.values.split_last().unwrap();
    assert_eq!(last.to_bits(), STALE_NAN_BITS);
    assert!(before.iter().all(|value| value.is_finite()));
    // The scrape itself went on, and failed.
    assert_eq!(named("up").values.last(), Some(&0.0));
    if let Some(count) = support::equals_dump(&folder) {
        assert_eq!(count, read.values().map(Samples::len).sum::<usize>());
    }
}

/// A histogram with buckets on both sides and gaps; from sample 20 on it has more buckets; at 40 and at 50 it starts
/// again.
fn sent(index: i64) -> NativeHistogram {
    let span = |offset, length| BucketSpan { offset, length };
    let growth = match index {
        ..40 => index + 1,
        40..50 => index - 39,
        _ => index - 49,
    };
    let count = |factor: i64| (factor * growth) as f64;
    let positive = if index < 20 {
        Buckets { spans: vec![span(-2, 2), span(3, 1)], counts: [3, 1, 4].map(count).to_vec() }
    } else {
        Buckets { spans: vec![span(-2, 2), span(1, 1), span(1, 2)], counts: [3, 1, 2, 4, 1].map(count).to_vec() }
    };
    let negative = Buckets { spans: vec![span(0, 1), span(2, 2)], counts: [5, 0, 2].map(count).to_vec() };
    let zero_count = count(2);
    NativeHistogram {
        reset_hint: ResetHint::Unknown,
        schema: 1,
        zero_threshold: 1e-3,
        zero_count,
        count: zero_count + positive.counts.iter().chain(&negative.counts).sum::<f64>(),
        sum: growth as f64 * -0.7,
        positive,
        negative,
        custom_bounds: Vec::new(),
    }
}

/// Index and count of the buckets that are not empty: a chunk's layout has every bucket of its samples.
fn filled(buckets: &Buckets) -> Vec<(i32, f64)> {
    buckets.iter().filter(|(_, count)| *count != 0.0).collect()
}

#[test]
fn remote_written_histograms_and_floats_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let tsdb = dir.path().join("tsdb");
    let Some(server) = servers::prometheus_with("global: {}\n", Some(&tsdb), &FLAGS).unwrap() else { return };
    // Within one of the server's ranges of two hours, at whose end it cuts a chunk.
    let start = now_ms() / 7_200_000 * 7_200_000 + 60_000;
    let time = |index: i64| start + index * 15_000;
    let stale = f64::from_bits(STALE_NAN_BITS);
    // By a power of two: Prometheus refuses a count below the sum of its buckets, be it by the last bit.
    let scale = |h: NativeHistogram| {
        let quarter = |counts: Vec<f64>| counts.into_iter().map(|count| count / 4.0).collect();
        let positive = Buckets { spans: h.positive.spans, counts: quarter(h.positive.counts) };
        let negative = Buckets { spans: h.negative.spans, counts: quarter(h.negative.counts) };
        NativeHistogram { positive, negative, count: h.count / 4.0, zero_count: h.zero_count / 4.0, ..h }
    };
    let mut wanted: BTreeMap<LabelSet, Vec<(i64, NativeHistogram)>> = BTreeMap::new();
    let mut series = Vec::new();
    for (name, counts) in [("whole", Counts::Integer), ("fractions", Counts::Float)] {
        let labels = metric("latency", &[("kind", name)]);
        let histogram = |index| if counts == Counts::Integer { sent(index) } else { scale(sent(index)) };
        let mut samples: Vec<_> = (0..60).map(|index| (time(index), histogram(index))).collect();
        // With a count: 2.42 takes a float histogram that counts nothing for an integer one.
        samples[59].1 = NativeHistogram { sum: stale, count: 1.0, ..NativeHistogram::default() };
        let mut sent = TimeSeries::new(&labels);
        sent.histograms = samples.iter().map(|(t, h)| Histogram::new(*t, h, counts)).collect();
        series.push(sent);
        wanted.insert(labels, samples);
    }
    let odd = [1.0, -1.5, f64::INFINITY, f64::from_bits(0x7ff8_0000_0000_0001), 5e-324, f64::MIN, stale];
    let mut floats = TimeSeries::new(&metric("floats", &[]));
    floats.samples = (0_i64..)
        .zip(odd)
        .map(|(index, value)| remote_write::Sample { value, timestamp: time(index * 2) + index * index })
        .collect();
    series.push(floats);
    post(
        &format!("{}/api/v1/write", server.url()),
        &remote_write::HEADERS,
        &remote_write::compress(&remote_write::WriteRequest { timeseries: series }),
    );

    let folder = snapshot(&server, &tsdb);
    let read = support::read_folder(&folder);
    let floats = &read[&metric("floats", &[])];
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&floats.values), bits(&odd));
    assert_eq!(floats.times[3], time(6) + 9);
    for (labels, wanted) in wanted {
        let histograms = &read[&labels].histograms;
        assert_eq!(histograms.len(), wanted.len());
        for (read, (time, wanted)) in histograms.iter().zip(&wanted) {
            let histogram = &read.histogram;
            assert_eq!((read.at.millis(), histogram.sum.to_bits()), (*time, wanted.sum.to_bits()));
            if wanted.is_stale() {
                continue;
            }
            assert_eq!((histogram.count, histogram.zero_count), (wanted.count, wanted.zero_count));
            assert_eq!((histogram.schema, histogram.zero_threshold), (wanted.schema, wanted.zero_threshold));
            assert_eq!(filled(&histogram.positive), filled(&wanted.positive), "{labels} at {time}");
            assert_eq!(filled(&histogram.negative), filled(&wanted.negative), "{labels} at {time}");
        }
        // It started again at sample 40, and Prometheus saw it. (Of the chunk that is still open, the one from 50 on, it
        // forgets that in a snapshot.)
        assert_eq!(histograms[40].histogram.reset_hint, ResetHint::Yes);
        assert_eq!(histograms[41].histogram.reset_hint, ResetHint::No);
    }
}

#[test]
fn what_its_delete_api_deleted_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let tsdb = dir.path().join("tsdb");
    std::fs::create_dir(&tsdb).unwrap();
    let mut block = BlockWriter::create(&tsdb, written::options(IndexVersion::V2)).unwrap();
    let series = written::float_series();
    for (labels, samples) in &series {
        block.floats(labels, samples).unwrap();
    }
    let folder = block.finish().unwrap();
    let Some(mut server) = servers::prometheus_with("global: {}\n", Some(&tsdb), &FLAGS).unwrap() else { return };
    let (first, last) = (written::START + 100 * 15_000, written::START + 200 * 15_000);
    let seconds = |millis: i64| millis as f64 / 1000.0;
    let range = format!("start={}&end={}", seconds(first), seconds(last));
    for selector in ["queue_depth", "requests_total%7Bzone%3D%22eu-1%22%7D"] {
        post(&format!("{}/api/v1/admin/tsdb/delete_series?match[]={selector}&{range}", server.url()), &[], b"");
    }
    server.stop();

    let block = Block::open_folder(&folder).unwrap();
    assert!(block.meta.stats.num_tombstones > 0 && !block.tombstones.is_empty());
    let read = support::read_all(&block);
    for (labels, samples) in &series {
        let deleted = labels.get("__name__") == Some("queue_depth") || labels.get("zone").is_some();
        let kept = samples.iter().filter(|(time, _)| !(deleted && (first..=last).contains(time)));
        assert_eq!(read[labels].times, kept.map(|(time, _)| *time).collect::<Vec<_>>(), "{labels}");
    }
    support::equals_dump(support::copy_for_promtool(&tsdb).path());
}

/// Counts of the buckets that are not empty, from the lowest value to the highest.
fn by_value(h: &NativeHistogram) -> Vec<f64> {
    let mut counts: Vec<f64> = filled(&h.negative).into_iter().rev().map(|(_, count)| count).collect();
    counts.extend([h.zero_count].into_iter().filter(|count| *count != 0.0));
    counts.extend(filled(&h.positive).into_iter().map(|(_, count)| count));
    counts
}

#[test]
fn prometheus_reads_the_histograms_that_our_writer_writes() {
    let dir = tempfile::tempdir().unwrap();
    let tsdb = dir.path().join("tsdb");
    std::fs::create_dir(&tsdb).unwrap();
    let mut block = BlockWriter::create(&tsdb, written::options(IndexVersion::V2)).unwrap();
    let mut wanted = BTreeMap::new();
    for (labels, (chunks, samples)) in written::odd_series() {
        // What 2.42 knows of them.
        if labels.get("layout") == Some("exponential") && labels.get("started") == Some("no") {
            block.series(&labels, &chunks).unwrap();
            wanted.insert(labels.get("kind").unwrap().to_owned(), samples.histograms);
        }
    }
    block.finish().unwrap();
    assert_eq!(wanted.keys().collect::<Vec<_>>(), ["float", "integer"]);
    let Some(server) = servers::prometheus_with("global: {}\n", Some(&tsdb), &FLAGS).unwrap() else { return };
    let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<f64>().unwrap();
    // One query a sample: 2.42 gives the last histogram of a range for each of it.
    for sample in (0..59_usize).step_by(7) {
        let time = wanted["float"][sample].at.seconds();
        let answer = http::get(&format!("{}/api/v1/query?query=latency&time={time}", server.url())).unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let found = answer["data"]["result"].as_array().unwrap();
        assert_eq!(found.len(), 2);
        for series in found {
            let histogram = &wanted[series["metric"]["kind"].as_str().unwrap()][sample].histogram;
            let read = &series["histogram"][1];
            assert_eq!((number(&read["count"]), number(&read["sum"])), (histogram.count, histogram.sum));
            let buckets = read["buckets"].as_array().unwrap();
            assert_eq!(buckets.iter().map(|bucket| number(&bucket[3])).collect::<Vec<_>>(), by_value(histogram));
        }
    }
}
