//! Blocks of the test kit's writer: we read what was written, in every version of the index, and so does promtool, which
//! is how the writer itself is checked.
#![allow(clippy::unwrap_used, reason = "a test panics to fail")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use forewarn_testkit::tsdb::{self, BlockOptions, BlockWriter, IndexVersion, ThanosOptions};
use forewarn_tsdb::{
    AggregateSlot, Block, ChunkMeta, ChunkRef, CounterFold, FileReader, InMemory, Index, IndexOptions, Interval,
    Samples, SeriesRef, Tombstones,
};
use support::{metric, written};

#[test]
fn every_version_of_the_index_gives_every_sample() {
    for version in [IndexVersion::V1, IndexVersion::V2, IndexVersion::V3] {
        let dir = tempfile::tempdir().unwrap();
        let (folder, wanted) = written::rich_block(dir.path(), written::options(version));
        let block = Block::open_folder(&folder).unwrap();
        assert!(block.segments.len() > 3);
        written::assert_equal(&support::read_all(&block), &wanted);
    }
}

#[test]
fn an_index_of_which_little_is_kept_gives_the_same() {
    for version in [IndexVersion::V1, IndexVersion::V2] {
        let dir = tempfile::tempdir().unwrap();
        let (folder, wanted) = written::rich_block(dir.path(), written::options(version));
        let mut block = Block::open_folder(&folder).unwrap();
        let file = Arc::new(FileReader::open(&folder.join("index")).unwrap());
        block.index = Arc::new(Index::open_with(file, IndexOptions { section_in_memory: 0 }).unwrap());
        written::assert_equal(&support::read_all(&block), &wanted);
    }
}

#[test]
fn promtool_reads_what_we_write() {
    for version in [IndexVersion::V1, IndexVersion::V2] {
        let dir = tempfile::tempdir().unwrap();
        // Only what 2.42 knows, and no histograms, which its dump leaves out in part.
        let mut block = BlockWriter::create(dir.path(), written::options(version)).unwrap();
        for (labels, samples) in written::float_series() {
            block.floats(&labels, &samples).unwrap();
        }
        let folder = block.finish().unwrap();
        std::fs::create_dir(dir.path().join("wal")).unwrap();
        let Some(count) = support::equals_dump(dir.path()) else { return };
        assert_eq!(count, written::PODS * written::SAMPLES as usize);
        let analysis = Command::new("promtool").args(["tsdb", "analyze"]).arg(dir.path()).output().unwrap();
        let text = String::from_utf8(analysis.stdout).unwrap();
        assert!(analysis.status.success(), "{}", String::from_utf8_lossy(&analysis.stderr));
        assert!(text.contains("Series: 300") && text.contains("(total label pairs): 960"), "{text}");
        assert!(folder.join("meta.json").exists());
    }
}

#[test]
fn deleted_samples_are_gone_for_us_and_for_promtool() {
    for version in [IndexVersion::V1, IndexVersion::V2] {
        let dir = tempfile::tempdir().unwrap();
        let mut block = BlockWriter::create(dir.path(), BlockOptions { version, ..written::options(version) }).unwrap();
        for (number, (labels, samples)) in written::float_series().into_iter().enumerate() {
            block.floats(&labels, &samples).unwrap();
            let at = |i: usize| samples[i].0;
            match number {
                3 => block.delete(number, at(10), at(20)),
                4 => {
                    block.delete(number, at(100), at(140));
                    block.delete(number, at(130), at(200));
                }
                5 => block.delete(number, i64::MIN, i64::MAX),
                _ => {}
            }
        }
        let folder = block.finish().unwrap();
        let samples =
            |number: usize| support::read_all(&Block::open_folder(&folder).unwrap()).into_values().nth(number);
        assert_eq!(samples(3).unwrap().len(), 500 - 11);
        assert_eq!(samples(4).unwrap().len(), 500 - 101);
        assert_eq!(samples(5).unwrap().len(), 0);
        std::fs::create_dir(dir.path().join("wal")).unwrap();
        support::equals_dump(dir.path());
    }
}

#[test]
fn tombstones_of_a_series_are_merged() {
    let bytes = tsdb::write_tombstones(&[(7, 50, 60), (7, -20, 10), (9, 1, 1), (7, 5, 49)]);
    let tombstones = Tombstones::parse("tombstones", &bytes).unwrap();
    assert_eq!(tombstones.of(SeriesRef(7)), [Interval { start: -20, end: 60 }]);
    assert_eq!(tombstones.of(SeriesRef(9)), [Interval { start: 1, end: 1 }]);
    assert_eq!((tombstones.of(SeriesRef(8)), tombstones.len()), (&[][..], 2));
}

#[test]
fn a_downsampled_block_gives_its_aggregates() {
    let dir = tempfile::tempdir().unwrap();
    let thanos = ThanosOptions { resolution_ms: 300_000, source: "compactor".into(), ..ThanosOptions::default() };
    let options = BlockOptions { thanos: Some(thanos), ..BlockOptions::new(tsdb::ulid(5, 5)) };
    let mut block = BlockWriter::create(dir.path(), options).unwrap();
    // A counter that falls back to zero every 700 samples, in two chunks.
    let raw: Vec<(i64, f64)> = (0..2000).map(|i| (written::START + i * 15_000, (i % 700) as f64)).collect();
    let (first, second) = raw.split_at(1003);
    let chunks = [tsdb::downsample(first, 300_000), tsdb::downsample(second, 300_000)];
    block.series(&metric("requests_total", &[]), &chunks).unwrap();
    let block = Block::open_folder(&block.finish().unwrap()).unwrap();
    assert_eq!(block.meta.resolution_ms(), 300_000);

    let mut chunks = block.chunk_reader();
    let (mut total, mut fold) = (Samples::default(), CounterFold::default());
    let mut counted = 0.0;
    for series in block.index.series(block.index.all().unwrap()) {
        for meta in series.unwrap().chunks {
            let aggregates = chunks.read(meta.at).unwrap().aggregates().unwrap();
            let decoded = |slot| {
                let mut samples = Samples::default();
                aggregates.get(slot).unwrap().decode(&mut samples).unwrap();
                samples
            };
            let (count, sum) = (decoded(AggregateSlot::Count), decoded(AggregateSlot::Sum));
            assert_eq!(count.times, sum.times);
            assert!(decoded(AggregateSlot::Max).values.iter().all(|max| *max < 700.0));
            assert!(decoded(AggregateSlot::Min).values.contains(&0.0));
            counted += count.values.iter().sum::<f64>();
            let counter = decoded(AggregateSlot::Counter);
            fold.push(&counter.times, &counter.values, &mut total);
        }
    }
    assert_eq!(counted, 2000.0);
    // What the raw counter grew by, resets added: 0 to 699 twice, then 0 to 599.
    assert_eq!(total.values.first(), Some(&0.0));
    assert_eq!(total.values.last(), Some(&(699.0 * 2.0 + 599.0)));
    assert!(total.times.is_sorted_by(|a, b| a < b) && total.values.is_sorted());
}

#[test]
fn a_block_without_tombstones_has_nothing_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, _) = written::rich_block(dir.path(), written::options(IndexVersion::V2));
    std::fs::remove_file(folder.join("tombstones")).unwrap();
    assert!(Block::open_folder(&folder).unwrap().tombstones.is_empty());
    assert!(Block::open_folder(Path::new("/nowhere")).is_err());
}

#[test]
fn an_empty_block_has_no_series() {
    let dir = tempfile::tempdir().unwrap();
    let block = BlockWriter::create(dir.path(), written::options(IndexVersion::V2)).unwrap();
    let block = Block::open_folder(&block.finish().unwrap()).unwrap();
    assert!(block.index.all().unwrap().is_empty() && block.index.label_names().is_empty());
    assert_eq!(block.index.series(block.index.all().unwrap()).count(), 0);
}

#[test]
fn chunks_that_overlap_or_lie_in_another_order_keep_their_places() {
    let place = |start, end, reference| tsdb::ChunkPlace { start, end, reference };
    let chunks = vec![
        place(1000, 9000, 3 << 32 | 8),
        place(500, 700, 1 << 32 | 77),
        place(-5, 10_000, 8),
        place(i64::MIN, i64::MIN, u64::MAX),
    ];
    let series = [tsdb::SeriesEntry { labels: metric("up", &[]), chunks: chunks.clone() }];
    for version in [IndexVersion::V1, IndexVersion::V2] {
        let (bytes, references) = tsdb::write_index(&series, version);
        let index = Arc::new(Index::open(Arc::new(InMemory::new("index", bytes))).unwrap());
        let read = index.series(index.all().unwrap()).next().unwrap().unwrap();
        assert_eq!(read.reference, SeriesRef(references[0]));
        let wanted = |c: &tsdb::ChunkPlace| ChunkMeta { start: c.start, end: c.end, at: ChunkRef(c.reference) };
        assert_eq!(read.chunks, chunks.iter().map(wanted).collect::<Vec<_>>());
    }
}
