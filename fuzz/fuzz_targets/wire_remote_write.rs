//! A remote write of any bytes: as a body, and as the message that a body unfolds into.
#![no_main]

use forewarn_wire::remote_write::{Limits, decode};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { max_decoded_bytes: 1 << 20 };

fuzz_target!(|bytes: &[u8]| {
    let _ = decode(bytes, LIMITS, |_| true);
    if let Ok(body) = snap::raw::Encoder::new().compress_vec(bytes)
        && let Ok(decoded) = decode(&body, LIMITS, |_| true)
    {
        // A sample is at least a tag and a length.
        let samples: usize = decoded.wanted.iter().map(|(_, samples)| samples.len()).sum();
        assert!(samples * 2 <= bytes.len(), "samples out of nothing");
    }
});
