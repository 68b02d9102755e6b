//! Tombstones, meta.json and the marks of any bytes; tombstones also with header and checksum made right.
#![no_main]

use forewarn_testkit::tsdb::crc32c;
use forewarn_tsdb::{BlockMeta, DeletionMark, NoCompactMark, SeriesRef, Tombstones};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Tombstones::parse("tombstones", bytes);
    let _ = BlockMeta::parse("meta.json", bytes);
    let _ = DeletionMark::parse("deletion-mark.json", bytes);
    let _ = NoCompactMark::parse("no-compact-mark.json", bytes);

    let mut file = vec![0x01, 0x30, 0xba, 0x30, 1];
    file.extend(bytes);
    file.extend(crc32c(bytes).to_be_bytes());
    if let Ok(tombstones) = Tombstones::parse("tombstones", &file) {
        for series in 0..256 {
            let intervals = tombstones.of(SeriesRef(series));
            assert!(intervals.windows(2).all(|pair| pair[0].end < pair[1].start), "sorted and apart");
        }
    }
});
