//! A file of samples read by another library: pyarrow sees every row as it was written, and prunes by its bounds.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

use std::process::Command;
use std::sync::Arc;

use forewarn_datasets::{Aggregate, RawSeries, SampleWriter};
use forewarn_schema::{
    BucketSpan, Buckets, HistogramSample, LabelSet, METRIC_NAME, NativeHistogram, STALE_NAN_BITS, Sample, Timestamp,
    is_stale,
};
use serde_json::{Value, json};

/// Prints each row as one JSON list, floats as the number that their bits are; then how many rows a filter leaves, and
/// which bounds the first row group has.
const PROGRAM: &str = r#"
import json, struct, sys
import pyarrow.parquet as pq
bits = lambda x: None if x is None else struct.unpack("<Q", struct.pack("<d", x))[0]
file = pq.ParquetFile(sys.argv[1])
for batch in file.iter_batches():
    column = {name: batch.column(name).to_pylist() for name in batch.schema.names if name not in ("at", "value")}
    value = batch.column("value")
    at = batch.column("at").cast("int64").to_pylist()
    for i in range(batch.num_rows):
        h = column["histogram"][i]
        if h is not None:
            h = {k: [bits(x) if isinstance(x, float) else x for x in v] if isinstance(v, list)
                 else bits(v) if isinstance(v, float) else v for k, v in h.items()}
        row = [column["metric"][i], column["labels"][i], column["aggregate"][i], at[i], bits(value[i].as_py()),
               column["stale"][i], h]
        print(json.dumps(row, sort_keys=True))
print(pq.read_table(sys.argv[1], filters=[("metric", "=", "b")]).num_rows)
bounds = file.metadata.row_group(0).column(0).statistics
print(json.dumps([bounds.min, bounds.max, bounds.null_count]))
"#;

fn histogram(sum: f64) -> NativeHistogram {
    NativeHistogram {
        schema: 3,
        zero_threshold: 1e-128,
        zero_count: 2.0,
        count: 9.0,
        sum,
        positive: Buckets { spans: vec![BucketSpan { offset: -4, length: 2 }], counts: vec![1.0, 2.0] },
        custom_bounds: vec![0.5, 2.5],
        ..NativeHistogram::default()
    }
}

/// 70,000 rows, more than two pages: floats of every kind, an aggregate, and histograms in the middle.
fn series() -> Vec<RawSeries> {
    let labels = |metric: &str, pod: usize| LabelSet::from([(METRIC_NAME, metric), ("pod", &format!("é{pod}\""))]);
    let value = |k: i64| match k % 1000 {
        3 => f64::from_bits(0x7ff8_0000_0000_0001),
        5 => f64::from_bits(STALE_NAN_BITS),
        7 => -0.0,
        9 => f64::NEG_INFINITY,
        _ => k as f64 * 0.1,
    };
    let floats = |from: i64, to: i64| -> Vec<Sample> {
        (from..to).map(|k| Sample { at: Timestamp::from_millis(k * 15_000 + k % 7), value: value(k) }).collect()
    };
    let one = |metric, pod, samples| RawSeries { labels: labels(metric, pod), samples, ..RawSeries::default() };
    let mut series = vec![one("a", 0, floats(0, 30_000)), one("a", 1, floats(0, 10)), one("b", 0, floats(0, 20_000))];
    let at = |k: i64| Timestamp::from_millis(k * 15_000 + 9);
    series[2].histograms =
        [3, 4, 19_000].map(|k| HistogramSample { at: at(k), histogram: Arc::new(histogram(k as f64)) }).to_vec();
    series.push(RawSeries { aggregate: Aggregate::Counter, ..one("b", 1, floats(0, 20_000)) });
    series
}

fn rows(series: &[RawSeries]) -> Vec<Value> {
    let mut rows = Vec::new();
    for one in series {
        let aggregate = if one.aggregate == Aggregate::Raw { "raw" } else { "counter" };
        let labels = serde_json::to_string(&one.labels).unwrap();
        let metric = one.labels.get(METRIC_NAME).unwrap();
        let mut of_one: Vec<(i64, Value)> = Vec::new();
        for s in &one.samples {
            let at = s.at.millis();
            of_one.push((at, json!([metric, labels, aggregate, at, s.value.to_bits(), is_stale(s.value), null])));
        }
        for h in &one.histograms {
            let (at, h) = (h.at.millis(), &h.histogram);
            let bits = |of: &[f64]| of.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            let spans = |of: &Buckets| {
                of.spans.iter().map(|s| json!({"offset": s.offset, "length": s.length})).collect::<Vec<_>>()
            };
            let written = json!({
                "reset_hint": "unknown", "schema": h.schema, "zero_threshold": h.zero_threshold.to_bits(),
                "zero_count": h.zero_count.to_bits(), "count": h.count.to_bits(), "sum": h.sum.to_bits(),
                "positive_spans": spans(&h.positive), "positive_counts": bits(&h.positive.counts),
                "negative_spans": spans(&h.negative), "negative_counts": bits(&h.negative.counts),
                "custom_bounds": bits(&h.custom_bounds),
            });
            of_one.push((at, json!([metric, labels, aggregate, at, null, false, written])));
        }
        of_one.sort_by_key(|(at, _)| *at);
        rows.extend(of_one.into_iter().map(|(_, row)| row));
    }
    rows
}

#[test]
fn pyarrow_reads_what_was_written() {
    if !Command::new("python3").args(["-c", "import pyarrow.parquet"]).output().is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: python3 with pyarrow is not installed");
        return;
    }
    let series = series();
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = SampleWriter::new(file.reopen().unwrap()).unwrap();
    series.iter().for_each(|one| writer.push(one).unwrap());
    writer.finish().unwrap();
    let output = Command::new("python3").args(["-c", PROGRAM]).arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut read: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read.pop(), Some(json!(["a", "b", 0])));
    assert_eq!(read.pop(), Some(json!(40_003)));
    let wanted = rows(&series);
    assert_eq!(read.len(), wanted.len());
    for (read, wanted) in read.iter().zip(&wanted) {
        assert_eq!(read, wanted);
    }
}
