//! Samples put in order. A server answers window by window and selector by selector; what is wanted is series by series,
//! each once, in order of time. Samples wait in a temporary file, where each series' pieces are known by its labels.
//!
//! In memory are the label sets and the place of each piece; the file stays in memory while it is small.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use forewarn_schema::{BucketSpan, Buckets, HistogramSample, LabelSet, NativeHistogram, ResetHint, Sample, Timestamp};
use tempfile::SpooledTempFile;

use super::remote_read::SampleSeries;

/// Beyond this the file is on disk.
const IN_MEMORY: usize = 32 << 20;
/// More series than a server of a reasonable size has.
const MAX_SERIES: usize = 5_000_000;

/// Write-only, until it is made [`Sorted`].
pub(super) struct Spool {
    file: BufWriter<SpooledTempFile>,
    length: u64,
    series: BTreeMap<LabelSet, Vec<Piece>>,
}

/// Where some samples of a series lie.
#[derive(Clone, Copy)]
struct Piece {
    offset: u64,
    samples: u32,
    histograms: u32,
}

impl Spool {
    pub(super) fn new() -> Self {
        let file = BufWriter::new(SpooledTempFile::new(IN_MEMORY));
        Self { file, length: 0, series: BTreeMap::new() }
    }

    /// Keeps a piece. In any order; what is in two pieces comes out once, as the piece kept first has it.
    pub(super) fn keep(&mut self, piece: &SampleSeries) -> io::Result<()> {
        if piece.samples.is_empty() && piece.histograms.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(piece.samples.len() * 16);
        for sample in &piece.samples {
            put(&mut bytes, sample.at.millis());
            put(&mut bytes, sample.value.to_bits().cast_signed());
        }
        for sample in &piece.histograms {
            put_histogram(&mut bytes, sample);
        }
        let count = |n: usize| u32::try_from(n).map_err(|_| io::Error::other("a piece must have at most 2^32 samples"));
        let place = Piece {
            offset: self.length,
            samples: count(piece.samples.len())?,
            histograms: count(piece.histograms.len())?,
        };
        let full = self.series.len() >= MAX_SERIES;
        match self.series.get_mut(&piece.labels) {
            Some(pieces) => pieces.push(place),
            None if full => return Err(io::Error::other(format!("a pull must have at most {MAX_SERIES} series"))),
            None => drop(self.series.insert(piece.labels.clone(), vec![place])),
        }
        self.file.write_all(&bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Nothing more comes.
    pub(super) fn sorted(self) -> io::Result<Sorted> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Sorted { file, series: self.series.into_iter() })
    }
}

/// Series by series.
pub(super) struct Sorted {
    file: SpooledTempFile,
    series: std::collections::btree_map::IntoIter<LabelSet, Vec<Piece>>,
}

impl Iterator for Sorted {
    type Item = io::Result<SampleSeries>;

    fn next(&mut self) -> Option<Self::Item> {
        let (labels, pieces) = self.series.next()?;
        Some(self.read(labels, &pieces))
    }
}

impl Sorted {
    fn read(&mut self, labels: LabelSet, pieces: &[Piece]) -> io::Result<SampleSeries> {
        let (mut samples, mut histograms) = (Vec::new(), Vec::new());
        for piece in pieces {
            self.file.seek(SeekFrom::Start(piece.offset))?;
            let mut bytes = vec![0; piece.samples as usize * 16];
            self.file.read_exact(&mut bytes)?;
            samples.extend(bytes.as_chunks::<16>().0.iter().map(|sample| {
                let bits = i128::from_le_bytes(*sample);
                Sample { at: Timestamp::from_millis(bits as i64), value: f64::from_bits((bits >> 64) as u64) }
            }));
            for _ in 0..piece.histograms {
                histograms.push(take_histogram(&mut self.file)?);
            }
        }
        in_order(&mut samples, |s| s.at);
        in_order(&mut histograms, |s| s.at);
        // A time has one sample. Servers see to that; two of their stores need not.
        if !histograms.is_empty() {
            samples.retain(|s| histograms.binary_search_by_key(&s.at, |h| h.at).is_err());
        }
        Ok(SampleSeries { labels, samples, histograms })
    }
}

/// Sorts by time and keeps the first of those that share one. Mostly there is nothing to do.
fn in_order<T>(samples: &mut Vec<T>, at: impl Fn(&T) -> Timestamp) {
    if !samples.is_sorted_by(|a, b| at(a) < at(b)) {
        samples.sort_by_key(&at);
        samples.dedup_by(|later, earlier| at(later) == at(earlier));
    }
}

fn put(out: &mut Vec<u8>, value: i64) {
    out.extend(value.to_le_bytes());
}

fn put_floats(out: &mut Vec<u8>, values: &[f64]) {
    put(out, values.len() as i64);
    values.iter().for_each(|v| put(out, v.to_bits().cast_signed()));
}

fn put_histogram(out: &mut Vec<u8>, sample: &HistogramSample) {
    let h = &*sample.histogram;
    put(out, sample.at.millis());
    put(out, i64::from(h.schema));
    put(
        out,
        match h.reset_hint {
            ResetHint::Unknown => 0,
            ResetHint::Yes => 1,
            ResetHint::No => 2,
            ResetHint::Gauge => 3,
        },
    );
    put_floats(out, &[h.zero_threshold, h.zero_count, h.count, h.sum]);
    for buckets in [&h.positive, &h.negative] {
        put(out, buckets.spans.len() as i64);
        for span in &buckets.spans {
            put(out, i64::from(span.offset));
            put(out, i64::from(span.length));
        }
        put_floats(out, &buckets.counts);
    }
    put_floats(out, &h.custom_bounds);
}

fn take(file: &mut impl Read) -> io::Result<i64> {
    let mut bytes = [0; 8];
    file.read_exact(&mut bytes)?;
    Ok(i64::from_le_bytes(bytes))
}

fn take_floats(file: &mut impl Read) -> io::Result<Vec<f64>> {
    (0..take(file)?).map(|_| Ok(f64::from_bits(take(file)?.cast_unsigned()))).collect()
}

fn take_histogram(file: &mut impl Read) -> io::Result<HistogramSample> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "the temporary file was changed");
    let at = Timestamp::from_millis(take(file)?);
    let schema = i32::try_from(take(file)?).map_err(|_| broken())?;
    let reset_hint = match take(file)? {
        1 => ResetHint::Yes,
        2 => ResetHint::No,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    };
    let [zero_threshold, zero_count, count, sum] = take_floats(file)?.try_into().map_err(|_| broken())?;
    let mut buckets = || {
        let mut spans = Vec::new();
        for _ in 0..take(file)? {
            let offset = i32::try_from(take(file)?).map_err(|_| broken())?;
            spans.push(BucketSpan { offset, length: u32::try_from(take(file)?).map_err(|_| broken())? });
        }
        io::Result::Ok(Buckets { spans, counts: take_floats(file)? })
    };
    let (positive, negative) = (buckets()?, buckets()?);
    let custom_bounds = take_floats(file)?;
    let histogram = NativeHistogram {
        reset_hint,
        schema,
        zero_threshold,
        zero_count,
        count,
        sum,
        positive,
        negative,
        custom_bounds,
    };
    Ok(HistogramSample { at, histogram: Arc::new(histogram) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn piece(name: &str, samples: &[(i64, f64)]) -> SampleSeries {
        let samples = samples.iter().map(|(at, value)| Sample { at: Timestamp::from_millis(*at), value: *value });
        SampleSeries { labels: LabelSet::from([("a", name)]), samples: samples.collect(), histograms: Vec::new() }
    }

    fn sorted(pieces: &[SampleSeries]) -> Vec<SampleSeries> {
        let mut spool = Spool::new();
        pieces.iter().for_each(|p| spool.keep(p).unwrap());
        spool.sorted().unwrap().collect::<io::Result<_>>().unwrap()
    }

    #[test]
    fn a_histogram_comes_back_bit_by_bit() {
        let buckets = Buckets { spans: vec![BucketSpan { offset: -3, length: 2 }], counts: vec![1.0, 0.1] };
        let histogram = NativeHistogram {
            reset_hint: ResetHint::Gauge,
            schema: -53,
            sum: f64::from_bits(forewarn_schema::STALE_NAN_BITS),
            negative: buckets,
            custom_bounds: vec![0.5, 1.0],
            ..NativeHistogram::default()
        };
        let at = Timestamp::from_millis(-5);
        let sample = HistogramSample { at, histogram: Arc::new(histogram) };
        let mut kept = piece("x", &[(-5, 1.0), (7, 2.0)]);
        kept.histograms.push(sample.clone());
        let read = sorted(&[kept]).remove(0);
        assert!(read.histograms[0].histogram.is_stale());
        assert_eq!(format!("{:?}", read.histograms[0]), format!("{sample:?}"));
        assert_eq!(read.samples, piece("x", &[(7, 2.0)]).samples);
    }

    proptest! {
        #[test]
        fn pieces_in_any_order_come_out_as_sorted_series(
            pieces in proptest::collection::vec(("[abc]", proptest::collection::vec(-20_i64..20, 0..8)), 0..12),
        ) {
            // The value tells the time, so that pieces agree where they overlap.
            let kept: Vec<SampleSeries> = pieces
                .iter()
                .map(|(name, times)| piece(name, &times.iter().map(|t| (*t, *t as f64)).collect::<Vec<_>>()))
                .collect();
            let mut expected: BTreeMap<&str, std::collections::BTreeSet<i64>> = BTreeMap::new();
            for (name, times) in pieces.iter().filter(|(_, times)| !times.is_empty()) {
                expected.entry(name).or_default().extend(times);
            }
            let expected: Vec<SampleSeries> = expected
                .into_iter()
                .map(|(name, times)| piece(name, &times.into_iter().map(|t| (t, t as f64)).collect::<Vec<_>>()))
                .collect();
            prop_assert_eq!(sorted(&kept), expected);
        }
    }
}
