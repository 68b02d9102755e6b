//! The file that says what was deleted.

use super::bits::{uvarint, varint};
use super::crc::crc32c;

/// The bytes of `tombstones`: series reference, first and last deleted millisecond.
pub fn write_tombstones(deleted: &[(u32, i64, i64)]) -> Vec<u8> {
    let mut entries = Vec::new();
    for (series, start, end) in deleted {
        entries.extend(uvarint(u64::from(*series)));
        entries.extend(varint(*start));
        entries.extend(varint(*end));
    }
    let mut bytes = vec![0x01, 0x30, 0xba, 0x30, 1];
    bytes.extend(&entries);
    bytes.extend(crc32c(&entries).to_be_bytes());
    bytes
}
