//! A remote write of any bytes, read as either version: as a body, and as the message that a body unfolds into.
#![no_main]

use forewarn_wire::remote_write::{Limits, Version, read};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { max_decoded_bytes: 1 << 20, seed: 1 };

fuzz_target!(|bytes: &[u8]| {
    let packed = snap::raw::Encoder::new().compress_vec(bytes);
    for version in [Version::V1, Version::V2] {
        let _ = read(bytes, version, LIMITS);
        let Ok(body) = &packed else { continue };
        let Ok(incoming) = read(body, version, LIMITS) else { continue };
        let mut samples = 0;
        for series in incoming.series() {
            samples += incoming.samples(series).len() + incoming.histograms(series).count();
            for histogram in incoming.histograms(series).flatten() {
                let sides = [&histogram.histogram.positive, &histogram.histogram.negative];
                assert!(sides.iter().all(|side| side.iter().count() <= side.counts.len()), "{histogram:?}");
            }
            let _ = incoming.labels(series);
        }
        // A sample is at least a tag and a length.
        assert!(samples * 2 <= bytes.len(), "samples out of nothing");
    }
});
