//! Remote read (`/api/v1/read`): the samples as the server has them, staleness markers and native histograms included.
//!
//! Here an answer becomes series: in frames of chunks, or as samples in one message for servers that do not stream. Pure;
//! who asks is in `raw`. Decoding is strict, and every declared size is checked before memory is taken for it.

mod frames;
mod message;
mod request;
mod wire;

use std::collections::BTreeMap;

use bytes::Bytes;
use forewarn_schema::{LabelMatcher, LabelSet, Sample, TimeRange, Timestamp};
use forewarn_tsdb::Samples;

use self::frames::Frames;
pub(super) use self::message::SampleSeries;
use super::answer::shorten;

pub(super) const PATH: &str = "/api/v1/read";
const STREAMED: &str = "application/x-streamed-protobuf";
const WHOLE: &str = "application/x-protobuf";

/// The body of a request. The range must not be empty.
pub(super) fn request(selector: &[LabelMatcher], range: TimeRange) -> Result<Vec<u8>, String> {
    request::encode(selector, range).map_err(|e| format!("the request is too large ({e})"))
}

/// Whether an answer's content type is one of remote read.
pub(super) fn is_answer(content_type: &str) -> bool {
    matches!(media_type(content_type), STREAMED | WHOLE)
}

fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// What was in chunks that nobody here can read, by name, with how often.
pub(super) type Skipped = BTreeMap<String, u64>;

/// Gives `each` the pieces of series of an answer, cut to `range`; a piece has one chunk's or one message's worth of
/// samples, as they lie there. `max_bytes` caps what a compressed answer may grow to. The error is of `each`, or says
/// in one line what is wrong with the answer.
pub(super) fn decode(
    content_type: &str,
    body: Bytes,
    range: TimeRange,
    max_bytes: u64,
    each: &mut dyn FnMut(SampleSeries) -> Result<(), String>,
) -> Result<Skipped, String> {
    match media_type(content_type) {
        STREAMED => streamed(body, range, each),
        WHOLE => whole(&body, range, max_bytes, each).map(|()| Skipped::new()),
        other => Err(format!("its content type must be {STREAMED} or {WHOLE}, got {:?}", shorten(other))),
    }
}

fn streamed(
    body: Bytes,
    range: TimeRange,
    each: &mut dyn FnMut(SampleSeries) -> Result<(), String>,
) -> Result<Skipped, String> {
    let mut skipped = Skipped::new();
    let mut decoded = Samples::default();
    for (number, frame) in Frames::of(body).enumerate() {
        let in_frame = |reason: &str| format!("frame {}: {reason}", number + 1);
        let frame = frame?;
        for series in message::chunked_series(&frame) {
            let series = series.map_err(|e| in_frame(e.0))?;
            for chunk in series.chunks() {
                decoded.clear();
                match chunk.map_err(|e| in_frame(e.0))?.decode(&mut decoded) {
                    Ok(()) => each(piece(&series.labels, &mut decoded, range))?,
                    Err(e) if e.is_skip() => *skipped.entry(e.to_string()).or_default() += 1,
                    Err(e) => {
                        let labels = shorten(&series.labels.to_string());
                        return Err(in_frame(&format!("a chunk of {labels} cannot be read: {e}")));
                    }
                }
            }
        }
    }
    Ok(skipped)
}

/// A chunk's samples that are in the range.
fn piece(labels: &LabelSet, decoded: &mut Samples, range: TimeRange) -> SampleSeries {
    let samples = decoded.times.iter().zip(&decoded.values);
    let samples = samples.map(|(at, value)| Sample { at: Timestamp::from_millis(*at), value: *value });
    let samples = samples.filter(|s| range.contains(s.at)).collect();
    decoded.histograms.retain(|s| range.contains(s.at));
    SampleSeries { labels: labels.clone(), samples, histograms: std::mem::take(&mut decoded.histograms) }
}

fn whole(
    body: &[u8],
    range: TimeRange,
    max_bytes: u64,
    each: &mut dyn FnMut(SampleSeries) -> Result<(), String>,
) -> Result<(), String> {
    let not_snappy = |e: snap::Error| format!("it is not in snappy's format ({e})");
    let size = snap::raw::decompress_len(body).map_err(not_snappy)?;
    if size as u64 > max_bytes {
        return Err(format!("it must be at most {max_bytes} bytes when decompressed, got {size}"));
    }
    let message = snap::raw::Decoder::new().decompress_vec(body).map_err(not_snappy)?;
    message::sample_series(&message, &mut |mut series| {
        series.samples.retain(|s| range.contains(s.at));
        series.histograms.retain(|s| range.contains(s.at));
        each(series)
    })
}

#[cfg(test)]
mod tests {
    use super::frames::frame;
    use super::wire::{put_bytes, put_int, put_varint};
    use super::*;
    use proptest::prelude::*;

    const STREAM: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

    fn all() -> TimeRange {
        TimeRange { start: Timestamp::from_millis(i64::MIN), end: Timestamp::from_millis(i64::MAX) }
    }

    fn read(content_type: &str, body: Vec<u8>, range: TimeRange) -> Result<(Vec<SampleSeries>, Skipped), String> {
        let mut found = Vec::new();
        let mut each = |series| {
            found.push(series);
            Ok(())
        };
        let skipped = decode(content_type, body.into(), range, 1 << 20, &mut each)?;
        Ok((found, skipped))
    }

    fn message(parts: &[(u64, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        parts.iter().for_each(|(number, bytes)| put_bytes(&mut out, *number, bytes));
        out
    }

    fn up() -> Vec<u8> {
        message(&[(1, b"__name__"), (2, b"up")])
    }

    /// A chunk of that encoding with one float at 60 s, as XOR encodes it.
    fn chunk(encoding: u64) -> Vec<u8> {
        let mut data = vec![0, 1];
        put_varint(&mut data, 60_000 << 1);
        data.extend(2.5_f64.to_be_bytes());
        let mut out = Vec::new();
        put_int(&mut out, 3, encoding);
        put_bytes(&mut out, 4, &data);
        out
    }

    fn double(out: &mut Vec<u8>, number: u64, value: f64) {
        put_varint(out, number << 3 | 1);
        out.extend(value.to_le_bytes());
    }

    #[test]
    fn an_encoding_of_the_future_is_left_out_and_counted() {
        let series = message(&[(1, &up()), (2, &chunk(1)), (2, &chunk(99)), (2, &chunk(1000))]);
        let (found, skipped) = read(STREAM, frame(&message(&[(1, &series)])), all()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].samples, [Sample { at: Timestamp::from_seconds(60), value: 2.5 }]);
        assert_eq!(skipped.iter().map(|(name, n)| (name.as_str(), *n)).collect::<Vec<_>>().len(), 2);
    }

    #[test]
    fn what_a_chunk_holds_beyond_the_range_is_left_out() {
        let body = frame(&message(&[(1, &message(&[(1, &up()), (2, &chunk(1))]))]));
        let range = TimeRange { start: Timestamp::from_millis(60_001), end: Timestamp::from_seconds(70) };
        assert!(read(STREAM, body, range).unwrap().0[0].samples.is_empty());
    }

    #[test]
    fn a_histogram_in_one_message_has_its_buckets_and_bits() {
        let mut histogram = Vec::new();
        put_int(&mut histogram, 1, 6);
        double(&mut histogram, 3, f64::from_bits(forewarn_schema::STALE_NAN_BITS));
        put_int(&mut histogram, 4, 3 << 1);
        double(&mut histogram, 5, 1e-128);
        put_int(&mut histogram, 6, 1);
        let mut span = Vec::new();
        // -2 and 2, in zigzag; then the counts 2 and 3 as differences.
        put_int(&mut span, 1, 3);
        put_int(&mut span, 2, 2);
        put_bytes(&mut histogram, 11, &span);
        put_bytes(&mut histogram, 12, &[4, 2]);
        put_int(&mut histogram, 14, 2);
        put_int(&mut histogram, 15, 60_000);
        let series = message(&[(1, &up()), (4, &histogram)]);
        let whole = message(&[(1, &message(&[(1, &series)]))]);
        let body = snap::raw::Encoder::new().compress_vec(&whole).unwrap();
        let found = read(WHOLE, body, all()).unwrap().0;
        let histogram = &found[0].histograms[0].histogram;
        assert!(histogram.is_stale());
        assert_eq!((histogram.schema, histogram.count, histogram.zero_count), (3, 6.0, 1.0));
        assert_eq!(histogram.positive.iter().collect::<Vec<_>>(), [(-2, 2.0), (-1, 3.0)]);
        assert_eq!(histogram.reset_hint, forewarn_schema::ResetHint::No);
    }

    #[test]
    fn a_declared_size_is_checked_before_memory_is_taken() {
        let mut bomb = Vec::new();
        put_varint(&mut bomb, u64::from(u32::MAX));
        assert!(read(WHOLE, bomb, all()).unwrap_err().contains("at most 1048576 bytes when decompressed"));
        let mut span = Vec::new();
        put_int(&mut span, 2, u64::from(u32::MAX));
        let series = message(&[(4, &message(&[(11, &span)]))]);
        let body = snap::raw::Encoder::new().compress_vec(&message(&[(1, &message(&[(1, &series)]))])).unwrap();
        assert!(read(WHOLE, body, all()).unwrap_err().contains("as many counts as"));
    }

    #[test]
    fn another_content_type_is_refused_with_its_name() {
        assert!(read("text/html", b"<html>".to_vec(), all()).unwrap_err().contains("text/html"));
    }

    /// Messages that are nearly right: fields of the right numbers, holding what they should or anything.
    fn nearly(depth: u32) -> BoxedStrategy<Vec<u8>> {
        let leaf = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..20),
            (1_u64..17, any::<u64>()).prop_map(|(number, value)| {
                let mut out = Vec::new();
                put_int(&mut out, number, value);
                out
            }),
            (0_u64..8).prop_map(chunk),
            Just(up()),
        ];
        leaf.prop_recursive(depth, 40, 6, |inner| {
            proptest::collection::vec((1_u64..17, inner), 0..6)
                .prop_map(|parts| parts.iter().flat_map(|(number, part)| message(&[(*number, part)])).collect())
        })
        .boxed()
    }

    proptest! {
        #[test]
        fn messages_that_are_nearly_right_never_panic_and_give_only_what_is_in_the_range(bytes in nearly(5)) {
            let range = TimeRange { start: Timestamp::from_seconds(0), end: Timestamp::from_seconds(3600) };
            let compressed = snap::raw::Encoder::new().compress_vec(&bytes).unwrap();
            for result in [read(STREAM, frame(&bytes), range), read(WHOLE, compressed, range)] {
                let Ok((found, _)) = result else { continue };
                prop_assert!(found.iter().flat_map(|s| &s.samples).all(|s| range.contains(s.at)));
                prop_assert!(found.iter().flat_map(|s| &s.histograms).all(|s| range.contains(s.at)));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>) {
            let _ = (read(STREAM, body.clone(), all()), read(WHOLE, body, all()));
        }
    }
}
