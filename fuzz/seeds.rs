//! Writes small seed corpora into `fuzz/corpus/<target>/`: `cargo run --manifest-path fuzz/Cargo.toml --example seeds`.

use std::fs;
use std::path::Path;

use forewarn_schema::{BucketSpan, Buckets, CUSTOM_BOUNDS_SCHEMA, LabelSet, NativeHistogram};
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
    put("tsdb_tombstones", "meta", meta.to_vec())
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
