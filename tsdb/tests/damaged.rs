//! Damaged bytes: whatever is flipped, cut off or made up, reading ends with a value or an error, soon, and in little
//! memory. Checksums are also made right again after the damage, since a hostile writer would.
#![allow(clippy::unwrap_used, reason = "a test panics to fail")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod support;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use forewarn_schema::MatchOp;
use forewarn_testkit::tsdb::{self, IndexVersion};
use forewarn_tsdb::{
    BlockError, BlockMeta, Chunk, ChunkReader, DeletionMark, Encoding, Framed, InMemory, Index, IndexOptions, Samples,
    Tombstones, parse_frame,
};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{equal, matcher, written};

/// The files of a rich block.
struct Files {
    indices: [Bytes; 2],
    segment: Bytes,
    meta: Bytes,
}

fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let (v1, _) = written::rich_block(&dir.path().join("1"), written::options(IndexVersion::V1));
        let (v2, _) = written::rich_block(&dir.path().join("2"), written::options(IndexVersion::V2));
        let read = |folder: &Path, name: &str| Bytes::from(std::fs::read(folder.join(name)).unwrap());
        Files {
            indices: [read(&v1, "index"), read(&v2, "index")],
            segment: read(&v2, "chunks/000001"),
            meta: read(&v2, "meta.json"),
        }
    })
}

/// What happens to bytes.
#[derive(Clone, Debug)]
enum Damage {
    Set(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Remove(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let place = any::<prop::sample::Index>;
    let damage = prop_oneof![
        6 => (place(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        2 => (place(), prop_oneof![Just(0), Just(0xff), Just(0x7f), Just(0x80)]).prop_map(|(at, b)| Damage::Set(at, b)),
        1 => place().prop_map(Damage::Cut),
        1 => (place(), 1..40_usize).prop_map(|(at, len)| Damage::Remove(at, len)),
        1 => (place(), 1..40_usize).prop_map(|(at, len)| Damage::Repeat(at, len)),
    ];
    vec(damage, 1..6)
}

fn damaged(bytes: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        match damage {
            Damage::Set(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Damage::Remove(at, len) => {
                let at = at.index(bytes.len());
                bytes.drain(at..(at + len).min(bytes.len()));
            }
            Damage::Repeat(at, len) => {
                let at = at.index(bytes.len());
                let part = bytes[at..(at + len).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

/// Reads all that an index gives, and must be done soon.
fn read_index(bytes: Vec<u8>, section_in_memory: u64) -> Result<(), BlockError> {
    let started = Instant::now();
    let size = bytes.len() as u64;
    let result = (|| {
        let file = Arc::new(InMemory::new("index", bytes));
        let index = Arc::new(Index::open_with(file, IndexOptions { section_in_memory })?);
        for name in index.label_names() {
            index.for_each_label_value(&name, |_| ())?;
        }
        for selector in [
            vec![],
            vec![equal("__name__", "queue_depth"), matcher("pod", MatchOp::Regex, "pod-00.*")],
            vec![matcher("zone", MatchOp::NotEqual, ""), matcher("job", MatchOp::NotRegex, "api")],
        ] {
            for series in index.series(index.select(&[selector])?) {
                let Ok(series) = series else { continue };
                // Three bytes a chunk at the least.
                assert!(series.chunks.len() as u64 * 3 <= size);
            }
        }
        Ok(())
    })();
    assert!(started.elapsed() < Duration::from_secs(10), "{size} bytes took {:?}", started.elapsed());
    result
}

/// Makes the checksums of the table of contents and of the sections right again, where they can be found.
fn mend(index: &mut [u8]) {
    let size = index.len();
    if size < 57 {
        return;
    }
    let place = |index: &[u8], i: usize| u64::from_be_bytes(index[size - 52 + i * 8..][..8].try_into().unwrap());
    for section in [place(index, 0), place(index, 5)] {
        let Ok(start) = usize::try_from(section) else { continue };
        let Some(len) = index.get(start..).and_then(|rest| rest.first_chunk::<4>()) else { continue };
        let content = start + 4;
        let Some(end) = content.checked_add(u32::from_be_bytes(*len) as usize).filter(|end| end + 4 <= size) else {
            continue;
        };
        let checksum = tsdb::crc32c(&index[content..end]);
        index[end..end + 4].copy_from_slice(&checksum.to_be_bytes());
    }
    let checksum = tsdb::crc32c(&index[size - 52..size - 4]);
    index[size - 4..].copy_from_slice(&checksum.to_be_bytes());
}

fn decode(encoding: u8, data: impl Into<Bytes>) -> Samples {
    let mut samples = Samples::default();
    let chunk = Chunk { encoding: Encoding::from_byte(encoding), data: data.into() };
    let len = chunk.data.len();
    let started = Instant::now();
    if chunk.decode(&mut samples).is_err() {
        assert!(samples.is_empty(), "an error leaves nothing behind");
    }
    if let Ok(aggregates) = chunk.aggregates() {
        for slot in forewarn_tsdb::AggregateSlot::ALL {
            if let Some(chunk) = aggregates.get(slot) {
                let _ = chunk.decode(&mut samples);
            }
        }
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{len} bytes took {:?}", started.elapsed());
    // Eight samples a byte, and twice that for what a vector takes when it grows.
    assert!(samples.times.capacity() <= 80 * len + 64, "{} samples of {len} bytes", samples.times.capacity());
    samples
}

/// A chunk in every encoding.
fn chunks() -> Vec<tsdb::Chunk> {
    let mut chunks: Vec<_> = written::odd_series().into_values().flat_map(|(chunks, _)| chunks).collect();
    let floats: Vec<_> = (0..100_i64).map(|i| (i * 15_000 + i % 5, (i % 13) as f64)).collect();
    chunks.push(tsdb::xor(&floats));
    chunks.push(tsdb::downsample(&floats, 300_000));
    chunks
}

proptest! {
    #[test]
    fn a_damaged_index_is_read_or_refused(damages in damages(), v2 in any::<bool>(), sparse in any::<bool>()) {
        let bytes = damaged(&files().indices[usize::from(v2)], &damages);
        let _ = read_index(bytes, if sparse { 0 } else { 1 << 20 });
    }

    #[test]
    fn a_damaged_index_with_right_checksums_is_read_or_refused(damages in damages(), v2 in any::<bool>(), sparse in any::<bool>()) {
        let mut bytes = damaged(&files().indices[usize::from(v2)], &damages);
        mend(&mut bytes);
        let _ = read_index(bytes, if sparse { 0 } else { 1 << 20 });
    }

    #[test]
    fn an_index_of_any_bytes_is_refused(mut bytes in vec(any::<u8>(), 0..3000)) {
        mend(&mut bytes);
        prop_assert!(read_index(bytes.clone(), 0).is_err());
        if bytes.len() >= 57 {
            bytes[..5].copy_from_slice(&[0xba, 0xaa, 0xd7, 0, 2]);
            let _ = read_index(bytes, 0);
        }
    }

    #[test]
    fn a_damaged_chunk_is_decoded_or_refused(which in any::<prop::sample::Index>(), damages in damages()) {
        let chunks = chunks();
        let chunk = which.get(&chunks);
        decode(chunk.encoding, damaged(&chunk.data, &damages));
    }

    #[test]
    fn a_chunk_of_any_bytes_is_decoded_or_refused(encoding in prop_oneof![1..7_u8, Just(255), any::<u8>()], bytes in vec(any::<u8>(), 0..400)) {
        decode(encoding, bytes);
    }

    #[test]
    fn a_damaged_segment_gives_chunks_or_refuses(damages in damages()) {
        let bytes = Bytes::from(damaged(&files().segment, &damages));
        let mut at = 8;
        while at < bytes.len() {
            match parse_frame(&bytes.slice(at..)) {
                Ok(Framed::Whole { chunk, len }) => {
                    let _ = chunk.decode(&mut Samples::default());
                    at += len;
                }
                Ok(Framed::Partial { needed }) => {
                    prop_assert!(needed > bytes.len() - at);
                    break;
                }
                Err(_) => break,
            }
        }
    }

    #[test]
    fn a_reference_anywhere_gives_a_chunk_or_an_error(offset in 0..70_000_u32, segment in 0..2_u32, readahead in 0..200_usize) {
        let file = InMemory::new("chunks/000001", files().segment.clone());
        let mut reader = ChunkReader::new(vec![Arc::new(file)]).with_readahead(readahead);
        let _ = reader.read(forewarn_tsdb::ChunkRef::new(segment, offset));
    }

    #[test]
    fn damaged_tombstones_are_read_or_refused(damages in damages(), mend in any::<bool>()) {
        let deleted: Vec<_> = (0..50_u32).map(|i| (i % 9, i64::from(i) * 1000, i64::from(i) * 1500)).collect();
        let mut bytes = damaged(&tsdb::write_tombstones(&deleted), &damages);
        if mend && bytes.len() >= 9 {
            let end = bytes.len() - 4;
            let checksum = tsdb::crc32c(&bytes[5..end]);
            bytes[end..].copy_from_slice(&checksum.to_be_bytes());
        }
        let _ = Tombstones::parse("tombstones", &bytes);
    }

    #[test]
    fn damaged_json_is_read_or_refused(damages in damages()) {
        let bytes = damaged(&files().meta, &damages);
        let _ = BlockMeta::parse("meta.json", &bytes);
        let _ = DeletionMark::parse("deletion-mark.json", &bytes);
    }
}

#[test]
fn every_single_wrong_byte_of_a_section_is_noticed() {
    // The whole file is under some checksum but for lengths, padding and the header.
    let index = &files().indices[1];
    let whole = written_series(index.to_vec()).unwrap();
    for at in (0..index.len()).step_by(97) {
        let mut bytes = index.to_vec();
        bytes[at] ^= 0x10;
        if let Ok(series) = written_series(bytes) {
            assert_eq!(series, whole, "byte {at} is wrong and was believed");
        }
    }
}

/// All series, or the first error.
fn written_series(bytes: Vec<u8>) -> Result<Vec<String>, BlockError> {
    let index = Arc::new(Index::open(Arc::new(InMemory::new("index", bytes)))?);
    let all = index.all()?;
    index.series(all).map(|series| Ok(format!("{:?}", series?))).collect()
}

#[test]
fn a_chunk_that_repeats_a_large_histogram_is_bounded() {
    // A layout of thousands of bounds, and samples of a few bits each.
    let mut first = written::histogram(1, forewarn_schema::CUSTOM_BOUNDS_SCHEMA);
    first.custom_bounds = (0..4000).map(f64::from).collect();
    let samples: Vec<_> = (0..16_000).map(|i| (i, first.clone())).collect();
    let chunk = tsdb::integer_histogram(&samples, &[]);
    assert!(decode(chunk.encoding, chunk.data).histograms.is_empty());
}

#[test]
fn a_series_that_names_a_long_label_many_times_is_refused() {
    let value = "x".repeat(10_000);
    let labels = (0..100).map(|i| (format!("label_{i:03}"), value.clone())).collect();
    let entry = tsdb::SeriesEntry { labels, chunks: Vec::new() };
    let (bytes, _) = tsdb::write_index(&[entry], IndexVersion::V2);
    assert!(written_series(bytes).unwrap_err().to_string().contains("labels of at most"));
}

#[test]
fn an_unknown_encoding_is_a_skip_and_a_broken_chunk_is_not() {
    let chunk = Chunk { encoding: Encoding::from_byte(77), data: Bytes::new() };
    let error = chunk.decode(&mut Samples::default()).unwrap_err();
    assert!(error.is_skip() && error.to_string() == "chunk encoding 77 is not known");
    let data = tsdb::xor(&[(1, 1.0), (2, 2.0)]).data;
    let chunk = Chunk { encoding: Encoding::Xor, data: data[..data.len() - 2].to_vec().into() };
    let error = chunk.decode(&mut Samples::default()).unwrap_err();
    assert!(!error.is_skip() && error.to_string() == "the data end in sample 1 of 2");
}
