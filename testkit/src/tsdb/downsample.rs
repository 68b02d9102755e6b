//! Downsampling as Thanos does it: windows of five minutes or an hour, each in five aggregates.

use super::chunk::Chunk;
use super::float::xor;

/// One downsampled chunk of raw samples, sorted by time and without NaN or staleness markers. A window ends a
/// millisecond before the next multiple of `resolution_ms`, the last one with the last sample.
pub fn downsample(samples: &[(i64, f64)], resolution_ms: i64) -> Chunk {
    let Some((last_time, last_value)) = samples.last().copied() else { return Chunk::aggregate([const { None }; 5]) };
    let window_end = |t: i64| (t - t.rem_euclid(resolution_ms) + resolution_ms - 1).min(last_time);
    let (mut count, mut sum, mut min, mut max) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // The first raw sample, each window's total, and the last raw value at the last time once more.
    let mut counter = vec![samples[0]];
    let (mut total, mut before) = (samples[0].1, samples[0].1);
    for window in samples.chunk_by(|a, b| window_end(a.0) == window_end(b.0)) {
        let end = window_end(window[0].0);
        let values = || window.iter().map(|(_, v)| *v);
        for value in values() {
            total += if value >= before { value - before } else { value };
            before = value;
        }
        count.push((end, window.len() as f64));
        sum.push((end, values().sum()));
        min.push((end, values().fold(f64::INFINITY, f64::min)));
        max.push((end, values().fold(f64::NEG_INFINITY, f64::max)));
        // A single sample that ends its window is the first one already.
        if counter.last().is_none_or(|(t, _)| *t < end) {
            counter.push((end, total));
        }
    }
    counter.push((last_time, last_value));
    Chunk::aggregate([count, sum, min, max, counter].map(|samples| Some(xor(&samples))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_spans_its_windows() {
        let samples: Vec<_> = (0..20).map(|i| (i * 60_000 + 7, i as f64)).collect();
        let chunk = downsample(&samples, 300_000);
        assert_eq!((chunk.encoding, chunk.start, chunk.end), (255, 7, 19 * 60_000 + 7));
        // First sample, four windows, the marker.
        assert_eq!(chunk.samples, 6);
    }
}
