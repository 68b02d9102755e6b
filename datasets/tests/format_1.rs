//! A dataset of format 1, as the first version left it: it is read, and becomes format 2 day by day.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod support;

use std::fmt::Write as _;

use async_trait::async_trait;
use forewarn_datasets::{Dataset, FORMAT_VERSION, HistorySource, NoProgress, SourceError, SourceInfo};
use forewarn_features::{Signal, SignalLimit, SignalSet};
use forewarn_schema::{BreachKind, Direction, LabelSet, Sample, Series, SignalKind, Step, TimeRange, Timestamp};
use serde_json::json;
use sha2::{Digest, Sha256};
use support::{range, store};

const DAY: &[u8] = include_bytes!("fixtures/day-v1.parquet");

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn signals() -> SignalSet {
    let memory = Signal {
        name: "memory".to_owned(),
        kind: SignalKind::Breach(BreachKind::Custom),
        service: "service".to_owned(),
        value: "memory".to_owned(),
        limit: Some(SignalLimit::Expression("memory_max".to_owned())),
        direction: Direction::Above,
        playbook: None,
    };
    SignalSet::new(&[], vec![memory]).unwrap()
}

/// The day of the fixture (ten minutes of it) twice: once as itself, once as another source's.
fn write_format_1(folder: &std::path::Path) {
    let covered = json!([{"start": "1970-01-01T00:00:00Z", "end": "1970-01-01T00:10:00Z"}]);
    let query = |promql: &str| json!({"query": sha256(promql.as_bytes()), "covered": covered, "series": 2, "rows": 20});
    let digest = sha256(DAY);
    let file = |source: &str| {
        json!({"1970-01-01": {
            "path": format!("{source}/1970-01-01-{}.parquet", &digest[..8]),
            "rows": 40, "bytes": DAY.len(), "sha256": digest, "resolution": "1m",
            "coverage": {"memory": {"value": query("memory"), "limit": query("memory_max")}}, "gaps": [],
        }})
    };
    let queries = json!({sha256(b"memory"): "memory", sha256(b"memory_max"): "memory_max"});
    let files = json!({"later": file("later"), "shop": file("shop")});
    let manifest = json!({"format_version": 1, "step": "1m", "sources": {}, "queries": queries, "files": files});
    for source in ["later", "shop"] {
        let folder = folder.join("dataset").join(source);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("1970-01-01-{}.parquet", &digest[..8])), DAY).unwrap();
    }
    std::fs::write(folder.join("dataset/manifest.json"), manifest.to_string()).unwrap();
}

/// Goes on where the fixture ends, with one pod of another service.
struct Shop;

#[async_trait]
impl HistorySource for Shop {
    fn name(&self) -> &str {
        "shop"
    }

    async fn probe(&self) -> Result<SourceInfo, SourceError> {
        Ok(SourceInfo { kind: "made-up".to_owned(), url: "none".to_owned(), version: None })
    }

    async fn fetch(&self, _: &str, range: TimeRange, step: Step) -> Result<Vec<Series>, SourceError> {
        let times = std::iter::successors(Some(range.start), |at| Some(*at + step.duration()));
        let samples = times.take_while(|at| *at < range.end).map(|at| Sample { at, value: 1.5 }).collect();
        Ok(vec![Series { labels: LabelSet::from([("pod", "b-0"), ("service", "basket")]), samples }])
    }

    async fn count(&self, _: &str, _: Timestamp) -> Result<Vec<LabelSet>, SourceError> {
        Ok(Vec::new())
    }

    async fn extent(&self) -> Result<Option<TimeRange>, SourceError> {
        Ok(None)
    }
}

#[tokio::test]
async fn format_1_is_read_and_a_day_becomes_format_2_when_it_changes() {
    let (folder, url) = store();
    write_format_1(folder.path());
    let (dataset, signals) = (Dataset::open(&url).await.unwrap(), signals());
    let first = range("1970-01-01T00:00:00Z", "1970-01-01T00:10:00Z");
    let before = dataset.read(&signals, first).await.unwrap();
    assert_eq!(before.keys().map(|service| &**service).collect::<Vec<_>>(), ["cart"]);
    // The fourth minute is NaN, which is no value.
    assert_eq!(before["cart"].len(), 9);
    let cart = ["cart".to_owned()].into();
    assert_eq!(dataset.read_services(&signals, first, &cart).await.unwrap(), before);
    assert_eq!(dataset.services(&signals, first).await.unwrap(), cart);

    // Nothing new: nothing is asked, and nothing written.
    let manifest = std::fs::read(folder.path().join("dataset/manifest.json")).unwrap();
    assert_eq!(dataset.pull(&Shop, &signals, Step::MINUTE, first, &NoProgress).await.unwrap().windows, 0);
    assert_eq!(std::fs::read(folder.path().join("dataset/manifest.json")).unwrap(), manifest);

    let more = range("1970-01-01T00:00:00Z", "1970-01-01T00:15:00Z");
    assert_eq!(dataset.pull(&Shop, &signals, Step::MINUTE, more, &NoProgress).await.unwrap().rows, 10);
    let manifest = dataset.manifest().await.unwrap().unwrap();
    assert_eq!(manifest.format_version, FORMAT_VERSION);
    let footers: Vec<(&str, bool)> = manifest.day_files().map(|(source, _, f)| (source, f.footer.is_some())).collect();
    assert_eq!(footers, [("later", false), ("shop", true)], "only the day that changed is written anew");
    let after = dataset.read(&signals, more).await.unwrap();
    assert_eq!((after["cart"].len(), after["basket"].len()), (9, 5));
    assert_eq!(dataset.read_services(&signals, more, &cart).await.unwrap()["cart"], before["cart"]);
    let both = ["basket".to_owned(), "cart".to_owned()].into();
    assert_eq!(dataset.services(&signals, more).await.unwrap(), both);
}
