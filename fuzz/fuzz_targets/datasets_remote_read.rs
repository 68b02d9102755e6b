//! A remote-read answer of any bytes: as it is, as the message in a frame whose checksum holds, and as a packed
//! message.
#![no_main]

use forewarn_datasets::fuzzing;
use forewarn_testkit::tsdb::crc32c;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzzing::remote_read(bytes);
    fuzzing::remote_read(&frame(bytes));
    if let Ok(packed) = snap::raw::Encoder::new().compress_vec(bytes) {
        fuzzing::remote_read(&packed);
    }
});

fn frame(message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let mut len = message.len();
    while len >= 0x80 {
        frame.push(len as u8 | 0x80);
        len >>= 7;
    }
    frame.push(len as u8);
    frame.extend(crc32c(message).to_be_bytes());
    frame.extend(message);
    frame
}
