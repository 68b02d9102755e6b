//! `prometheus.ReadRequest`: which series, from when to when, and in which form.

use forewarn_schema::{LabelMatcher, MatchOp, TimeRange};

use super::wire::{put_bytes, put_int};

/// Response types, the one wanted most first: chunks in frames, else samples in one message.
const STREAMED_XOR_CHUNKS: u64 = 1;
const SAMPLES: u64 = 0;

/// One query, in snappy's block format. The range must not be empty.
pub(super) fn encode(selector: &[LabelMatcher], range: TimeRange) -> Result<Vec<u8>, snap::Error> {
    let mut query = Vec::new();
    // Both ends are counted in.
    put_int(&mut query, 1, range.start.millis().cast_unsigned());
    put_int(&mut query, 2, (range.end.millis() - 1).cast_unsigned());
    for matcher in selector {
        let mut message = Vec::new();
        let op = match matcher.op {
            MatchOp::Equal => 0,
            MatchOp::NotEqual => 1,
            MatchOp::Regex => 2,
            MatchOp::NotRegex => 3,
        };
        put_int(&mut message, 1, op);
        put_bytes(&mut message, 2, matcher.name.as_bytes());
        put_bytes(&mut message, 3, matcher.value.as_bytes());
        put_bytes(&mut query, 3, &message);
    }
    let mut request = Vec::new();
    put_bytes(&mut request, 1, &query);
    put_int(&mut request, 2, STREAMED_XOR_CHUNKS);
    put_int(&mut request, 2, SAMPLES);
    snap::raw::Encoder::new().compress_vec(&request)
}
