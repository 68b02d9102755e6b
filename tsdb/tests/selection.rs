//! Which series a selector selects, against a walk through all of them; and how little is read to find out.
#![allow(clippy::unwrap_used, reason = "a test panics to fail")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use forewarn_schema::{LabelMatcher, LabelSet, MatchOp};
use forewarn_testkit::tsdb::{self, BlockOptions, BlockWriter, IndexVersion};
use forewarn_tsdb::{Block, ChunkReader, FileReader, Index, IndexOptions, Matcher, ReadAt, ReadError, Samples};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{equal, matcher, written};

/// Counts what is read through it.
struct Counted {
    inner: FileReader,
    bytes: Arc<AtomicU64>,
    reads: Arc<AtomicU64>,
}

impl ReadAt for Counted {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, ReadError> {
        self.bytes.fetch_add(len as u64, Ordering::Relaxed);
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.read_at(offset, len)
    }
}

#[derive(Default)]
struct Counter {
    bytes: Arc<AtomicU64>,
    reads: Arc<AtomicU64>,
}

impl Counter {
    fn open(&self, path: &Path) -> Arc<dyn ReadAt> {
        let (bytes, reads) = (self.bytes.clone(), self.reads.clone());
        Arc::new(Counted { inner: FileReader::open(path).unwrap(), bytes, reads })
    }

    fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// The index, kept whole and hardly at all, in each version.
fn indices() -> Vec<(tempfile::TempDir, Arc<Index>)> {
    let mut indices = Vec::new();
    for version in [IndexVersion::V1, IndexVersion::V2] {
        for section_in_memory in [0, 1 << 20] {
            let dir = tempfile::tempdir().unwrap();
            let (folder, _) = written::rich_block(dir.path(), written::options(version));
            let file = Arc::new(FileReader::open(&folder.join("index")).unwrap());
            let index = Index::open_with(file, IndexOptions { section_in_memory }).unwrap();
            indices.push((dir, Arc::new(index)));
        }
    }
    indices
}

fn labels_of(index: &Arc<Index>, selectors: &[Vec<LabelMatcher>]) -> Vec<LabelSet> {
    index.series(index.select(selectors).unwrap()).map(|series| series.unwrap().labels).collect()
}

fn by_walking(all: &[LabelSet], selectors: &[Vec<LabelMatcher>]) -> Vec<LabelSet> {
    let selected = |labels: &&LabelSet| {
        selectors.iter().any(|selector| selector.iter().all(|m| Matcher::new(m).unwrap().selects(labels)))
    };
    all.iter().filter(selected).cloned().collect()
}

fn matchers() -> impl Strategy<Value = LabelMatcher> {
    let name = prop_oneof![Just("__name__"), Just("job"), Just("pod"), Just("zone"), Just("kind"), Just("nowhere")];
    let value = prop_oneof![
        Just(""),
        Just("api"),
        Just("requests_total"),
        Just("pod-0007"),
        Just("pod-01.*"),
        Just(".*"),
        Just(".+"),
        Just("integer|float"),
        Just("api|"),
        Just("eu-1"),
        Just("(?i)API"),
        Just("latency|xor2.*"),
        Just("zzz")
    ];
    let op = prop_oneof![Just(MatchOp::Equal), Just(MatchOp::NotEqual), Just(MatchOp::Regex), Just(MatchOp::NotRegex)];
    (name, op, value).prop_map(|(name, op, value)| matcher(name, op, value))
}

#[test]
fn a_selection_is_what_a_walk_finds_whatever_is_kept_in_memory() {
    let indices = indices();
    let all: Vec<LabelSet> = labels_of(&indices[0].1, &[vec![]]);
    assert_eq!(all.len(), written::PODS + 10);
    assert!(all.is_sorted());
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let selectors = vec(vec(matchers(), 0..4), 0..3);
    runner
        .run(&selectors, |selectors| {
            let wanted = by_walking(&all, &selectors);
            for (_, index) in &indices {
                prop_assert_eq!(labels_of(index, &selectors), wanted.clone(), "{:?}", selectors);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn label_names_and_values_are_those_of_the_series() {
    for (_dir, index) in indices() {
        let all = labels_of(&index, &[vec![]]);
        let names: BTreeSet<&str> = all.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
        assert_eq!(index.label_names(), names.iter().copied().collect::<Vec<_>>());
        for name in names.into_iter().chain(["nowhere"]) {
            let wanted: BTreeSet<&str> = all.iter().filter_map(|labels| labels.get(name)).collect();
            let mut values = Vec::new();
            index.for_each_label_value(name, |value| values.push(value.to_owned())).unwrap();
            assert_eq!(values, wanted.into_iter().collect::<Vec<_>>());
        }
    }
}

#[test]
fn neighbouring_series_cost_one_read() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, _) = written::rich_block(dir.path(), written::options(IndexVersion::V2));
    let counter = Counter::default();
    let index = Arc::new(Index::open(counter.open(&folder.join("index"))).unwrap());
    let all = index.all().unwrap();
    let before = counter.reads();
    let count = index.series(all).map(Result::unwrap).count();
    let reads = counter.reads() - before;
    assert!(count > 300 && reads <= 3, "{count} series in {reads} reads");
}

/// A block of 20 metrics of which one is wanted.
fn twenty_metrics(parent: &Path) -> PathBuf {
    let mut block = BlockWriter::create(parent, BlockOptions::new(tsdb::ulid(9, 9))).unwrap();
    for metric in 0..20 {
        for pod in 0..50 {
            let labels =
                support::metric(&format!("metric_{metric:02}"), &[("job", "api"), ("pod", &format!("pod-{pod:03}"))]);
            let samples: Vec<_> = (0..1000_i64).map(|i| (i * 15_000 + i % 7, ((i * i) % 1009) as f64)).collect();
            block.floats(&labels, &samples).unwrap();
        }
    }
    block.finish().unwrap()
}

#[test]
fn five_per_cent_of_the_series_cost_at_most_a_tenth_of_the_block() {
    let dir = tempfile::tempdir().unwrap();
    let folder = twenty_metrics(dir.path());
    let counter = Counter::default();
    let index = Arc::new(Index::open(counter.open(&folder.join("index"))).unwrap());
    let mut chunks = ChunkReader::new(vec![counter.open(&folder.join("chunks/000001"))]).with_readahead(4 << 10);
    let mut samples = Samples::default();
    for series in index.series(index.select(&[vec![equal("__name__", "metric_07")]]).unwrap()) {
        let series = series.unwrap();
        chunks.prefetch(&series.chunks).unwrap();
        for meta in &series.chunks {
            chunks.read(meta.at).unwrap().decode(&mut samples).unwrap();
        }
    }
    assert_eq!(samples.len(), 50 * 1000);
    let size = |file: &str| std::fs::metadata(folder.join(file)).unwrap().len();
    let whole = size("index") + size("chunks/000001");
    let share = counter.bytes() as f64 / whole as f64;
    assert!(share < 0.10, "{share} of {whole} bytes in {} reads", counter.reads());
}

#[test]
fn one_metric_of_a_history_is_read_without_the_rest() {
    let tsdb = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/histories/1/tsdb"));
    if !tsdb.exists() {
        eprintln!("skipped: the histories are not there");
        return;
    }
    for folder in support::blocks_in(&tsdb) {
        let counter = Counter::default();
        let index = Arc::new(Index::open(counter.open(&folder.join("index"))).unwrap());
        let set = index.select(&[vec![equal("__name__", "hikaricp_connections_active")]]).unwrap();
        let series: Vec<_> = index.series(set).map(Result::unwrap).collect();
        assert!(!series.is_empty());
        let size = std::fs::metadata(folder.join("index")).unwrap().len();
        assert!(
            counter.bytes() * 2 < size,
            "{} of {size} bytes of the index for {} series",
            counter.bytes(),
            series.len()
        );
        let block = Block::open_folder(&folder).unwrap();
        assert_eq!(labels_of(&block.index, &[vec![]]).len() as u64, block.meta.stats.num_series);
    }
}
