//! Writes small seed corpora into `fuzz/corpus/<target>/`: `cargo run --manifest-path fuzz/Cargo.toml --example seeds`,
//! with `--features datasets` those of its targets too.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use forewarn_schema::{BucketSpan, Buckets, CUSTOM_BOUNDS_SCHEMA, HistogramSample, LabelSet, NativeHistogram, Timestamp};
use forewarn_testkit::{otlp, remote_write};
use forewarn_testkit::tsdb::{self, Chunk, ChunkPlace, IndexVersion, SeriesEntry};

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let put = |target: &str, name: &str, bytes: Vec<u8>| {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)
    };
    for (name, version) in [("v1", IndexVersion::V1), ("v2", IndexVersion::V2)] {
        for kept in [0, 1] {
            let (index, _) = tsdb::write_index(&series(), version);
            put("tsdb_index", &format!("{name}-{kept}"), [vec![kept], index].concat())?;
        }
    }
    for (name, chunk) in chunks() {
        put("tsdb_chunk", name, [vec![chunk.encoding], chunk.data.clone()].concat())?;
        put("tsdb_chunk", &format!("{name}-frame"), chunk.frame())?;
    }
    let tombstones = tsdb::write_tombstones(&[(1, -5, 10), (1, 11, 20), (70_000, 0, i64::MAX)]);
    put("tsdb_tombstones", "entries", tombstones[5..tombstones.len() - 4].to_vec())?;
    put("tsdb_tombstones", "file", tombstones)?;
    let meta = br#"{"ulid":"x","minTime":0,"maxTime":1,"version":1,"thanos":{"labels":{"a":"b"},"files":[]}}"#;
    put("tsdb_tombstones", "meta", meta.to_vec())?;
    let scrape: Vec<_> = series().into_iter().take(4).map(|s| (s.labels, 1.5)).collect();
    let body = remote_write::encode_scrape(Timestamp::from_seconds(1_767_225_600), &scrape);
    let message = snap::raw::Decoder::new().decompress_vec(&body).map_err(std::io::Error::other)?;
    put("wire_remote_write", "body", body)?;
    put("wire_remote_write", "message", message)?;
    let (body, message) = histograms()?;
    put("wire_remote_write", "histograms", body)?;
    put("wire_remote_write", "histograms-message", message)?;
    put("wire_otlp", "all", otlp_message())?;
    for (which, name, body) in BODIES {
        put("inference_bodies", name, [&[which], body.as_bytes()].concat())?;
    }
    #[cfg(feature = "datasets")]
    datasets::seeds(&put)?;
    Ok(())
}

/// Which path of `inference_bodies`, a name, and what is sent there.
const BODIES: [(u8, &str, &str); 9] = [
    (
        3,
        "alert",
        r#"{"version":"4","status":"firing","alerts":[{"status":"firing","labels":{"alertname":"oom","service":"cart"},"startsAt":"2026-01-01T00:00:00Z"}]}"#,
    ),
    (3, "alert-of-a-prediction", r#"{"alerts":[{"status":"firing","labels":{"forewarn_prediction_id":"x"}}]}"#),
    (4, "label", r#"{"prediction_id":"x","verdict":"true_positive","note":"it leaks"}"#),
    (4, "breach", r#"{"service":"cart","kind":"oom","at":"2026-01-01T00:00:00Z","verdict":"missed"}"#),
    (6, "outcome", r#"{"outcome":"succeeded","note":"restarted"}"#),
    (7, "form", "note=restarted+it"),
    (
        8,
        "labels",
        "{\"request_id\":\"x\",\"verdict\":\"unclear\"}\n{\"service\":\"cart\",\"from\":0,\"to\":1,\"verdict\":\"unclear\"}\n",
    ),
    (9, "links", r#"{"request_id":"x","who":"anna"}"#),
    (10, "chosen", "prediction_id=x&prediction_id=y&verdict=unclear&note=a+test&back=%2F"),
];

/// Native histograms of both kinds, as a body and as the message in it.
fn histograms() -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    let buckets = Buckets { spans: vec![BucketSpan { offset: -2, length: 2 }], counts: vec![1.0, 2.0] };
    let whole = NativeHistogram { schema: 3, count: 6.0, zero_count: 3.0, positive: buckets, ..NativeHistogram::default() };
    let broken = NativeHistogram { zero_count: 2.5, ..whole.clone() };
    let sample = |at, histogram| HistogramSample { at: Timestamp::from_seconds(at), histogram: Arc::new(histogram) };
    let labels = LabelSet::from([("__name__", "latency"), ("job", "a")]);
    let body = remote_write::encode_histograms(&[(labels, vec![sample(60, whole), sample(120, broken)])]);
    let message = snap::raw::Decoder::new().decompress_vec(&body).map_err(std::io::Error::other)?;
    Ok((body, message))
}

/// A point of each kind.
fn otlp_message() -> Vec<u8> {
    let at = 1_767_225_600_000_000_000;
    let histogram = otlp::HistogramDataPoint {
        attributes: otlp::attributes(&[("path", "/")]),
        time_unix_nano: at,
        count: 3,
        sum: Some(1.5),
        bucket_counts: vec![1, 2],
        explicit_bounds: vec![0.5],
        ..otlp::HistogramDataPoint::default()
    };
    let exponential = otlp::ExponentialHistogramDataPoint {
        time_unix_nano: at,
        count: 6,
        scale: 9,
        positive: Some(otlp::ExponentialBuckets { offset: -2, bucket_counts: vec![1, 2, 3] }),
        ..otlp::ExponentialHistogramDataPoint::default()
    };
    let number = otlp::NumberDataPoint { time_unix_nano: at, as_int: Some(7), ..otlp::NumberDataPoint::default() };
    let quantile_values = vec![otlp::ValueAtQuantile { quantile: 0.5, value: 1.0 }];
    let summary =
        otlp::SummaryDataPoint { time_unix_nano: at, quantile_values, ..otlp::SummaryDataPoint::default() };
    let named = |name: &str| otlp::Metric { name: name.to_owned(), unit: "s".to_owned(), ..otlp::Metric::default() };
    let metrics = vec![
        otlp::gauge("pool.size", "By", 60, 1.0, &[("a", "b")]),
        otlp::Metric {
            sum: Some(otlp::Sum { data_points: vec![number], aggregation_temporality: 2, is_monotonic: true }),
            ..named("hits")
        },
        otlp::Metric {
            histogram: Some(otlp::Histogram { data_points: vec![histogram], aggregation_temporality: 2 }),
            ..named("latency")
        },
        otlp::Metric {
            exponential_histogram: Some(otlp::ExponentialHistogram {
                data_points: vec![exponential],
                aggregation_temporality: 2,
            }),
            ..named("size")
        },
        otlp::Metric { summary: Some(otlp::Summary { data_points: vec![summary] }), ..named("rpc") },
    ];
    otlp::encode(&otlp::request(&[("service.name", "cart"), ("k8s.pod.name", "cart-1")], metrics))
}

#[cfg(feature = "datasets")]
mod datasets {
    use std::fs;
    use std::io::{Error, Result};
    use std::sync::Arc;

    use forewarn_datasets::{Aggregate, Dataset, LogsOptions, LogsSource, RawSeries, SampleWriter};
    use forewarn_schema::{HistogramSample, LabelSet, NativeHistogram, STALE_NAN_BITS, Sample, Series, Timestamp};
    use forewarn_testkit::{remote_write, tsdb};

    macro_rules! fixture {
        ($name:literal) => {
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../datasets/tests/fixtures/", $name)).to_vec()
        };
    }

    pub(super) fn seeds(put: &dyn Fn(&str, &str, Vec<u8>) -> Result<()>) -> Result<()> {
        put("datasets_manifest", "v1", fixture!("manifest-v1.json"))?;
        put("datasets_manifest", "v2", fixture!("manifest-v2.json"))?;
        put("datasets_day_file", "v1", fixture!("day-v1.parquet"))?;
        put("datasets_day_file", "v2", fixture!("day-v2.parquet"))?;
        put("datasets_logs", "ledger", fixture!("logs-ledger-v1.json"))?;
        put("datasets_sample_file", "floats", sample_file(&samples()[..1])?)?;
        put("datasets_sample_file", "all", sample_file(&samples())?)?;
        for (name, body) in ANSWERS {
            put("datasets_query_answer", name, body.as_bytes().to_vec())?;
        }
        put("datasets_remote_read", "chunks", chunked())?;
        put("datasets_remote_read", "samples", whole()?)?;
        put("datasets_logs", "lines", LINES.as_bytes().to_vec())?;
        logs(put)
    }

    /// 2024-10-04, a midnight.
    const START: i64 = 1_728_000_000_000;

    fn labels(pod: usize) -> LabelSet {
        LabelSet::from([("__name__", "requests_total"), ("pod", &format!("cart-{pod}"))])
    }

    fn samples() -> Vec<RawSeries> {
        let value = |k: i64| if k == 9 { f64::from_bits(STALE_NAN_BITS) } else { k as f64 * 1.5 };
        let sample = |k: i64| Sample { at: Timestamp::from_millis(START + k * 60_000), value: value(k) };
        let one =
            |pod| RawSeries { labels: labels(pod), samples: (0..40).map(sample).collect(), ..RawSeries::default() };
        let at = Timestamp::from_millis(START + 7);
        let histogram = NativeHistogram { schema: 3, count: 2.0, zero_count: 2.0, ..NativeHistogram::default() };
        let with = RawSeries { histograms: vec![HistogramSample { at, histogram: Arc::new(histogram) }], ..one(1) };
        vec![one(0), with, RawSeries { aggregate: Aggregate::Counter, ..one(2) }]
    }

    fn sample_file(series: &[RawSeries]) -> Result<Vec<u8>> {
        let mut writer = SampleWriter::new(Vec::new()).map_err(Error::other)?;
        for one in series {
            writer.push(one).map_err(Error::other)?;
        }
        Ok(writer.finish().map_err(Error::other)?.0)
    }

    const ANSWERS: [(&str, &str); 5] = [
        (
            "range",
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"a"},"values":[[60,"1"],[120,"NaN"],[180.5,"+Inf"]]}]}}"#,
        ),
        (
            "instant",
            r#"{"status":"success","warnings":["partial"],"data":{"resultType":"vector","result":[{"metric":{"job":"a"},"value":[60,"2.5"]},{"metric":{},"histogram":[60,{"count":"1","sum":"2","buckets":[[0,"0","1","1"]]}]}]}}"#,
        ),
        ("series", r#"{"status":"success","data":[{"__name__":"up","job":"a"},{"__name__":"up","job":"\u00fc"}]}"#),
        ("version", r#"{"status":"success","data":{"version":"2.42.0","goVersion":"go1.19"}}"#),
        (
            "error",
            r#"{"status":"error","errorType":"execution","error":"query processing would load too many samples into memory"}"#,
        ),
    ];

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let len = u8::try_from(bytes.len()).expect("a seed's fields are short");
        let len = if len < 0x80 { vec![len] } else { vec![len | 0x80, len >> 7] };
        [&[number << 3 | 2][..], &len, bytes].concat()
    }

    /// `prometheus.ChunkedReadResponse` of one series with one chunk, without its frame.
    fn chunked() -> Vec<u8> {
        let label =
            |name: &str, value: &str| field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
        let chunk = tsdb::xor(&[(1000, 1.0), (2000, 2.5), (3000, 2.5)]);
        let chunk = [&[0x08, 0xe8, 0x07, 0x10, 0xb8, 0x17, 0x18, chunk.encoding][..], &field(4, &chunk.data)].concat();
        field(1, &[label("__name__", "up"), label("job", "a"), field(2, &chunk)].concat())
    }

    /// `prometheus.ReadResponse` of one series, as it is before snappy.
    fn whole() -> Result<Vec<u8>> {
        let samples = vec![Sample { at: Timestamp::from_millis(1000), value: 1.0 }];
        let body = remote_write::encode_series(&[Series { labels: labels(0), samples }]);
        let message = snap::raw::Decoder::new().decompress_vec(&body).map_err(Error::other)?;
        Ok(field(1, &message))
    }

    const LINES: &str = concat!(
        r#"{"date":"2026-01-02T10:00:01Z","log":"ERROR order 7 took 12ms\n","kubernetes":{"pod_name":"cart-1","labels":{"app":"cart"}}}"#,
        "\n",
        r#"{"date":1767348002.5,"log":"level=warn msg=\"slow\" id=5f3c","kubernetes":{"labels":{"app":"pay"}}}"#,
        "\nnot json\n[]\n",
        r#"{"date":"soon","log":"x"}"#,
        "\n{\"date\":\"2026-01-02T10:",
    );

    /// What counting those lines leaves behind: ledger, counts, templates and what was seen.
    fn logs(put: &dyn Fn(&str, &str, Vec<u8>) -> Result<()>) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (objects, store) = (folder.path().join("objects"), folder.path().join("store"));
        fs::create_dir_all(&objects)?;
        fs::write(objects.join("a"), LINES)?;
        let url = |path: &std::path::Path| format!("file://{}", path.display());
        tokio::runtime::Runtime::new()?.block_on(async {
            let dataset = Dataset::open(&url(&store)).await.map_err(Error::other)?;
            let options = LogsOptions { url: url(&objects), ..LogsOptions::default() };
            let source = LogsSource::new_with(options, &dataset, &[]).map_err(Error::other)?;
            source.take_in().await.map_err(Error::other)
        })?;
        let mut folders = vec![store];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
                    put("datasets_logs", name, fs::read(&path)?)?;
                }
            }
        }
        Ok(())
    }
}

fn series() -> Vec<SeriesEntry> {
    let chunk = |start: i64, reference| ChunkPlace { start, end: start + 900, reference };
    let entry = |i: u64| {
        let pod = format!("pod-{i:02}");
        let labels = LabelSet::from([("__name__", "up"), ("job", if i % 2 == 0 { "a" } else { "b" }), ("pod", &pod)]);
        SeriesEntry { labels, chunks: vec![chunk(1000, 8 + i), chunk(2000, 300 + i), chunk(1500, 90 << 32)] }
    };
    (0..40).map(entry).collect()
}

fn chunks() -> Vec<(&'static str, Chunk)> {
    let floats: Vec<_> = (0..20_i64).map(|i| (i * 15_000 + i % 3, (i * i % 7) as f64)).collect();
    let starts: Vec<_> = floats.iter().map(|(t, _)| t - 100 - t % 2).collect();
    let histogram = |i: i64, schema: i32| NativeHistogram {
        schema,
        count: 9.0 * i as f64,
        sum: 0.5 * i as f64,
        positive: Buckets {
            spans: vec![BucketSpan { offset: 0, length: 2 }, BucketSpan { offset: 2, length: 1 }],
            counts: vec![i as f64, 2.0 * i as f64, 6.0 * i as f64],
        },
        custom_bounds: if schema == CUSTOM_BOUNDS_SCHEMA { vec![0.1, 0.5, 1e-9, 7.0] } else { Vec::new() },
        ..NativeHistogram::default()
    };
    let histograms = |schema| (0..10).map(|i| (i * 15_000, histogram(i, schema))).collect::<Vec<_>>();
    let starts_of_ten: Vec<_> = (0..10).map(|i| i * 15_000 / 40_000).collect();
    vec![
        ("xor", tsdb::xor(&floats)),
        ("xor2", tsdb::xor2(&floats, &[])),
        ("xor2-started", tsdb::xor2(&floats, &starts)),
        ("integer", tsdb::integer_histogram(&histograms(3), &[])),
        ("integer-started", tsdb::integer_histogram(&histograms(3), &starts_of_ten)),
        ("integer-custom", tsdb::integer_histogram(&histograms(CUSTOM_BOUNDS_SCHEMA), &[])),
        ("float", tsdb::float_histogram(&histograms(-2), &[])),
        ("float-started", tsdb::float_histogram(&histograms(-2), &starts_of_ten)),
        ("float-custom", tsdb::float_histogram(&histograms(CUSTOM_BOUNDS_SCHEMA), &[])),
        ("aggregate", tsdb::downsample(&floats, 60_000)),
    ]
}
