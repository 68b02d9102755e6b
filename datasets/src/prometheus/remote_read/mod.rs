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
use forewarn_schema::{LabelMatcher, Sample, TimeRange, Timestamp};
use forewarn_tsdb::{ChunkError, Samples};

use self::frames::Frames;
use self::wire::WireError;
use crate::sample_source::{Aggregate, RawSeries};

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
/// samples, sorted by time. `max_bytes` caps what a compressed answer may grow to.
pub(super) fn decode(
    content_type: &str,
    body: Bytes,
    range: TimeRange,
    max_bytes: u64,
    mut each: impl FnMut(RawSeries) -> Result<(), String>,
) -> Result<Skipped, String> {
    let mut skipped = Skipped::new();
    match media_type(content_type) {
        STREAMED => {
            for (number, frame) in Frames::of(body).enumerate() {
                let in_frame = |reason: &str| format!("frame {}: {reason}", number + 1);
                for series in message::chunked_series(&frame?).map_err(|e| in_frame(e.0))? {
                    let mut decoded = Samples::default();
                    for chunk in &series.chunks {
                        decoded.clear();
                        match chunk.decode(&mut decoded) {
                            Ok(()) => each(piece(&series.labels, &mut decoded, range)?)?,
                            Err(e) if e.is_skip() => *skipped.entry(e.to_string()).or_default() += 1,
                            Err(e) => return Err(in_frame(&damage(&e, &series.labels))),
                        }
                    }
                }
            }
        }
        WHOLE => {
            let size = snap::raw::decompress_len(&body).map_err(|e| format!("it is not in snappy's format ({e})"))?;
            if size as u64 > max_bytes {
                return Err(format!("it must be at most {max_bytes} bytes when decompressed, got {size}"));
            }
            let message = snap::raw::Decoder::new()
                .decompress_vec(&body)
                .map_err(|e| format!("it is not in snappy's format ({e})"))?;
            for mut series in message::sample_series(&message).map_err(|WireError(reason)| reason.to_owned())? {
                series.samples.retain(|s| range.contains(s.at));
                series.histograms.retain(|s| range.contains(s.at));
                each(RawSeries {
                    labels: series.labels,
                    aggregate: Aggregate::Raw,
                    samples: series.samples,
                    histograms: series.histograms,
                })?;
            }
        }
        other => return Err(format!("its content type must be {STREAMED} or {WHOLE}, got {other:?}")),
    }
    Ok(skipped)
}

/// A chunk's samples that are in the range.
fn piece(labels: &forewarn_schema::LabelSet, decoded: &mut Samples, range: TimeRange) -> Result<RawSeries, String> {
    let samples = decoded.times.iter().zip(&decoded.values);
    let samples = samples.map(|(at, value)| Sample { at: Timestamp::from_millis(*at), value: *value });
    let samples = samples.filter(|s| range.contains(s.at)).collect();
    decoded.histograms.retain(|s| range.contains(s.at));
    let histograms = std::mem::take(&mut decoded.histograms);
    Ok(RawSeries { labels: labels.clone(), aggregate: Aggregate::Raw, samples, histograms })
}

fn damage(error: &ChunkError, labels: &forewarn_schema::LabelSet) -> String {
    format!("a chunk of {} cannot be read: {error}", super::answer::shorten(&labels.to_string()))
}
