//! The histories of the made-up shop, blocks that promtool made: we read what `promtool tsdb dump` prints, sample for
//! sample.
#![allow(clippy::unwrap_used, reason = "a test panics to fail")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod support;

use std::path::PathBuf;

use forewarn_tsdb::{Block, Samples};

fn history(number: u8) -> Option<PathBuf> {
    let tsdb = PathBuf::from(format!("{}/../../shared/data/histories/{number}/tsdb", env!("CARGO_MANIFEST_DIR")));
    if !tsdb.exists() {
        eprintln!("skipped: the histories are not there");
        return None;
    }
    Some(tsdb)
}

fn equals_promtool(number: u8) {
    let Some(history) = history(number) else { return };
    let copy = support::copy_for_promtool(&history);
    let Some(count) = support::equals_dump(copy.path()) else { return };
    let metas = support::blocks_in(&history).into_iter().map(|path| Block::open_folder(&path).unwrap().meta);
    assert_eq!(count as u64, metas.map(|meta| meta.stats.num_samples).sum::<u64>());
}

#[test]
fn history_1_equals_promtool_dump() {
    equals_promtool(1);
}

#[test]
fn history_2_equals_promtool_dump() {
    equals_promtool(2);
}

#[test]
fn history_3_equals_promtool_dump() {
    equals_promtool(3);
}

#[test]
fn a_block_holds_what_its_meta_says() {
    let Some(history) = history(1) else { return };
    for path in support::blocks_in(&history) {
        let block = Block::open_folder(&path).unwrap();
        let (mut series, mut chunks, mut samples) = (0, 0, Samples::default());
        let (mut first, mut last) = (i64::MAX, i64::MIN);
        for each in block.index.series(block.index.all().unwrap()) {
            let each = each.unwrap();
            let before = samples.times.len();
            support::read(&block, &each, &mut samples);
            series += 1;
            chunks += each.chunks.len() as u64;
            assert_eq!(each.chunks.first().unwrap().start, samples.times[before]);
            assert_eq!(each.chunks.last().unwrap().end, *samples.times.last().unwrap());
        }
        for time in &samples.times {
            (first, last) = (first.min(*time), last.max(*time));
        }
        let stats = block.meta.stats;
        assert_eq!((series, chunks, samples.len() as u64), (stats.num_series, stats.num_chunks, stats.num_samples));
        assert_eq!((first, last + 1), (block.meta.min_time, block.meta.max_time));
    }
}
