//! The file of labels, as those read it that it is for.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot set up its case has failed")]

use std::process::Command;

use forewarn_datasets::{LabelRow, labels_parquet};
use forewarn_schema::{BreachKind, Judge, Timestamp, Verdict};

const PROGRAM: &str = r#"
import sys
import pandas
import pyarrow.parquet
rows = pandas.read_parquet(sys.argv[1])
assert list(rows.columns) == ["judge", "id", "of", "prediction_id", "request_id", "service", "signal", "kind", "labels", "at",
    "until", "verdict", "became", "probability", "model_version", "outweighed_by", "note", "source", "who", "given_at"], rows.columns
assert pyarrow.parquet.read_metadata(sys.argv[1]).metadata[b"forewarn.labels.format_version"] == b"1"
assert str(rows["given_at"].dtype) == "datetime64[ms, UTC]" and rows["given_at"].is_monotonic_increasing, rows.dtypes
counts = rows[rows["outweighed_by"].isna()].groupby("verdict")["id"].agg(list).to_dict()
assert counts == {"false_positive": ["f-1"], "missed": ["m-1"]}, counts
label = rows.set_index("id").loc["f-1"]
assert label["note"] == "a load test, ünd so" and label["who"] == "anna" and label["at"].isoformat() == "2026-01-01T00:00:00+00:00", label
assert pandas.isna(rows.set_index("id").loc["m-1"]["probability"])
"#;

fn row(id: &str, judge: Judge, verdict: Verdict, seconds: i64) -> LabelRow {
    let start: i64 = 1_767_225_600;
    LabelRow {
        judge,
        id: id.to_owned(),
        of: "prediction",
        prediction_id: Some("p-1".to_owned()),
        request_id: None,
        service: Some("cart".to_owned()),
        signal: Some("memory".to_owned()),
        kind: Some(BreachKind::Oom),
        labels: Some(r#"{"pod":"cart-1"}"#.to_owned()),
        at: Some(Timestamp::from_seconds(start)),
        until: None,
        verdict: Some(verdict),
        became: None,
        probability: Some(0.9),
        model_version: Some("rules".to_owned()),
        outweighed_by: None,
        note: None,
        source: None,
        who: None,
        given_at: Timestamp::from_seconds(start + seconds),
    }
}

fn rows() -> Vec<LabelRow> {
    let label = LabelRow {
        note: Some("a load test, ünd so".to_owned()),
        source: Some("page"),
        who: Some("anna".to_owned()),
        ..row("f-1", Judge::Label, Verdict::FalsePositive, 60)
    };
    let settled = LabelRow {
        became: Some("breached".to_owned()),
        outweighed_by: Some("f-1".to_owned()),
        ..row("p-1", Judge::Data, Verdict::TruePositive, 30)
    };
    let missed = LabelRow {
        of: "breach",
        prediction_id: None,
        probability: None,
        became: Some("missed".to_owned()),
        ..row("m-1", Judge::Data, Verdict::Missed, 90)
    };
    vec![label, missed, settled]
}

#[test]
fn pandas_reads_labels_and_settlements() {
    if !Command::new("python3").args(["-c", "import pandas, pyarrow"]).output().is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: python3 with pandas and pyarrow is not installed");
        return;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), labels_parquet(&rows()).unwrap()).unwrap();
    let output = Command::new("python3").args(["-c", PROGRAM]).arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_same_rows_are_the_same_bytes_and_none_are_a_file_too() {
    let (mut rows, written) = (rows(), labels_parquet(&rows()).unwrap());
    rows.reverse();
    assert_eq!(labels_parquet(&rows).unwrap(), written);
    assert!(labels_parquet(&[]).unwrap().starts_with(b"PAR1"));
}
