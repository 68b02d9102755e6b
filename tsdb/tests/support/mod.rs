//! What the tests of this crate share: where blocks are, what `promtool tsdb dump` says of them, and the same in its words.
#![allow(dead_code, reason = "each test uses some of it")]

pub(crate) mod written;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use forewarn_schema::{LabelMatcher, LabelSet, METRIC_NAME, MatchOp};
use forewarn_tsdb::{Block, Samples, Series};

pub(crate) fn equal(name: &str, value: &str) -> LabelMatcher {
    matcher(name, MatchOp::Equal, value)
}

pub(crate) fn matcher(name: &str, op: MatchOp, value: &str) -> LabelMatcher {
    LabelMatcher { name: name.to_owned(), op, value: value.to_owned() }
}

/// The folders in `tsdb` that are blocks, by the order of their names.
pub(crate) fn blocks_in(tsdb: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(tsdb).unwrap().map(|entry| entry.unwrap().path());
    let mut blocks: Vec<PathBuf> = entries.filter(|path| path.join("meta.json").exists()).collect();
    blocks.sort();
    blocks
}

/// A copy of the blocks in `tsdb` that promtool may open: it wants a `wal` folder beside them, and writes.
pub(crate) fn copy_for_promtool(tsdb: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for block in blocks_in(tsdb) {
        forewarn_testkit::servers::copy_tree(&block, &copy.path().join(block.file_name().unwrap())).unwrap();
    }
    std::fs::create_dir_all(copy.path().join("wal")).unwrap();
    copy
}

/// Everything that a series has in a block, deletions taken out.
pub(crate) fn read(block: &Block, series: &Series, samples: &mut Samples) {
    let mut chunks = block.chunk_reader();
    chunks.prefetch(&series.chunks).unwrap();
    for meta in &series.chunks {
        let before = samples.len();
        let chunk = chunks.read(meta.at).unwrap();
        chunk.decode(samples).map_err(|source| chunks.chunk_error(meta.at, source)).unwrap();
        assert_eq!(samples.len() - before, chunk.promised_samples());
    }
    samples.remove_within(block.tombstones.of(series.reference));
}

/// All series of a block and their samples.
pub(crate) fn read_all(block: &Block) -> BTreeMap<LabelSet, Samples> {
    let mut all = BTreeMap::new();
    for series in block.index.series(block.index.all().unwrap()) {
        let series = series.unwrap();
        let mut samples = Samples::default();
        read(block, &series, &mut samples);
        assert!(all.insert(series.labels, samples).is_none(), "a label set twice");
    }
    all
}

/// The same of several blocks that do not overlap, in the order of time; a series without samples is left out.
pub(crate) fn read_folder(tsdb: &Path) -> BTreeMap<LabelSet, Samples> {
    let mut blocks: Vec<Block> = blocks_in(tsdb).iter().map(|path| Block::open_folder(path).unwrap()).collect();
    blocks.sort_by_key(|block| block.meta.min_time);
    let mut all: BTreeMap<LabelSet, Samples> = BTreeMap::new();
    for block in &blocks {
        for (labels, samples) in read_all(block) {
            if samples.is_empty() {
                continue;
            }
            let kept = all.entry(labels).or_default();
            kept.times.extend(samples.times);
            kept.values.extend(samples.values);
            kept.histograms.extend(samples.histograms);
        }
    }
    all
}

/// Labels as promtool prints them: the metric name is a label like the others, values are quoted as Go does.
pub(crate) fn printed(labels: &LabelSet) -> String {
    let mut text = String::from("{");
    for (index, (name, value)) in labels.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(text, "{comma}{name}=\"").unwrap();
        for c in value.chars() {
            match c {
                '"' | '\\' => write!(text, "\\{c}").unwrap(),
                '\n' => text.push_str("\\n"),
                _ => text.push(c),
            }
        }
        text.push('"');
    }
    text + "}"
}

/// A running `promtool tsdb dump`.
pub(crate) struct Dump {
    child: Child,
    lines: BufReader<ChildStdout>,
    line: String,
}

impl Dump {
    /// Starts it over a folder of blocks; `None`, and a reason, where promtool is not installed.
    pub(crate) fn start(tsdb: &Path) -> Option<Self> {
        let started = Command::new("promtool").args(["tsdb", "dump"]).arg(tsdb).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = started else {
            eprintln!("skipped: promtool is not installed");
            return None;
        };
        let lines = BufReader::with_capacity(1 << 20, child.stdout.take().unwrap());
        Some(Self { child, lines, line: String::new() })
    }

    /// The next sample: labels as printed, what is printed as its value, its time.
    pub(crate) fn next(&mut self) -> Option<(&str, &str, i64)> {
        self.line.clear();
        if self.lines.read_line(&mut self.line).unwrap() == 0 {
            assert!(self.child.wait().unwrap().success(), "promtool failed");
            return None;
        }
        let end = self.line.rfind("} ").unwrap() + 1;
        let (value, time) = self.line[end..].trim().rsplit_once(' ').unwrap();
        Some((&self.line[..end], value, time.parse().unwrap()))
    }
}

/// Compares a folder of blocks, read by us, with what promtool prints of it, float by float. Gives the number of samples,
/// or `None` where promtool is not installed. Go prints the shortest text that reads back, so that equal bits are equal
/// texts but for NaN, which has many.
pub(crate) fn equals_dump(tsdb: &Path) -> Option<usize> {
    let mut ours: BTreeMap<String, Samples> =
        read_folder(tsdb).into_iter().map(|(labels, samples)| (printed(&labels), samples)).collect();
    let mut dump = Dump::start(tsdb)?;
    let (mut current, mut samples, mut at, mut count) = (String::new(), Samples::default(), 0, 0);
    while let Some((labels, value, time)) = dump.next() {
        if labels != current {
            assert_eq!(at, samples.times.len(), "samples of {current} that promtool does not have");
            current = labels.to_owned();
            samples = ours.remove(labels).unwrap_or_else(|| panic!("{labels} is not in our reading"));
            at = 0;
        }
        let (our_time, our_value) = (samples.times[at], samples.values[at]);
        let value: f64 = value.parse().unwrap();
        let equal = our_value.to_bits() == value.to_bits() || (our_value.is_nan() && value.is_nan());
        assert!(our_time == time && equal, "{current}: {value} at {time}, we have {our_value} at {our_time}");
        at += 1;
        count += 1;
    }
    assert_eq!(at, samples.times.len(), "samples of {current} that promtool does not have");
    let floats_left: Vec<_> = ours.into_iter().filter(|(_, samples)| !samples.times.is_empty()).collect();
    assert!(floats_left.is_empty(), "series that promtool does not have: {floats_left:?}");
    Some(count)
}

/// Labels of one metric.
pub(crate) fn metric(name: &str, labels: &[(&str, &str)]) -> LabelSet {
    let name = [(METRIC_NAME, name)];
    name.iter().chain(labels).copied().collect()
}
