//! OTLP metrics of any bytes: plain, and as the gzip that they may be.
#![no_main]

use forewarn_wire::otlp::{Encoding, Limits, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let promote = ["service.name".to_owned(), "k8s.pod.name".to_owned()];
    let limits = Limits { max_decoded_bytes: 1 << 20, promote: &promote };
    for encoding in [Encoding::Identity, Encoding::Gzip] {
        let Ok(incoming) = read(bytes, encoding, limits, &|labels| labels.len() % 7 != 3) else { continue };
        for point in &incoming.points {
            for (labels, _) in &point.floats {
                let name = labels.get("__name__").expect("a sample has a metric name");
                assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':'), "{name}");
            }
        }
        if encoding == Encoding::Identity {
            let points = incoming.points.len() + incoming.unwanted + incoming.refused.values().sum::<usize>();
            // A point is at least a tag and a length; a resource may say what it is besides.
            assert!(points * 2 <= bytes.len(), "points out of nothing");
        }
    }
});
