//! Native histograms as a struct column, and back.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int32Array, ListArray, StringArray, StructArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Float64Type, Int32Type, UInt32Type};
use forewarn_schema::{BucketSpan, Buckets, HistogramSample, NativeHistogram, ResetHint};

use super::SampleFileError;
use super::schema::{histogram_fields, list_item, span_fields};

fn hint_text(hint: ResetHint) -> &'static str {
    match hint {
        ResetHint::Unknown => "unknown",
        ResetHint::Yes => "yes",
        ResetHint::No => "no",
        ResetHint::Gauge => "gauge",
    }
}

fn hint_of(text: &str) -> Option<ResetHint> {
    [ResetHint::Unknown, ResetHint::Yes, ResetHint::No, ResetHint::Gauge].into_iter().find(|h| hint_text(*h) == text)
}

/// A column of `rows` rows with these histograms, which are sorted by row; null elsewhere.
pub(super) fn to_array(histograms: &[(usize, HistogramSample)], rows: usize) -> Result<ArrayRef, SampleFileError> {
    let nothing = NativeHistogram::default();
    let mut of_row: Vec<&NativeHistogram> = vec![&nothing; rows];
    let mut valid = vec![false; rows];
    for (row, sample) in histograms {
        of_row[*row] = &sample.histogram;
        valid[*row] = true;
    }
    let float = |field: fn(&NativeHistogram) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(of_row.iter().map(|h| field(h))))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(of_row.iter().map(|h| hint_text(h.reset_hint)))),
        Arc::new(Int32Array::from_iter_values(of_row.iter().map(|h| h.schema))),
        float(|h| h.zero_threshold),
        float(|h| h.zero_count),
        float(|h| h.count),
        float(|h| h.sum),
        spans(of_row.iter().map(|h| h.positive.spans.as_slice()))?,
        numbers(of_row.iter().map(|h| h.positive.counts.as_slice()))?,
        spans(of_row.iter().map(|h| h.negative.spans.as_slice()))?,
        numbers(of_row.iter().map(|h| h.negative.counts.as_slice()))?,
        numbers(of_row.iter().map(|h| h.custom_bounds.as_slice()))?,
    ];
    Ok(Arc::new(StructArray::try_new(histogram_fields(), columns, Some(NullBuffer::from(valid)))?))
}

fn numbers<'h>(lists: impl Iterator<Item = &'h [f64]> + Clone) -> Result<ArrayRef, SampleFileError> {
    let offsets = OffsetBuffer::from_lengths(lists.clone().map(<[f64]>::len));
    let values = Float64Array::from_iter_values(lists.flatten().copied());
    Ok(Arc::new(ListArray::try_new(list_item(DataType::Float64), offsets, Arc::new(values), None)?))
}

fn spans<'h>(lists: impl Iterator<Item = &'h [BucketSpan]> + Clone) -> Result<ArrayRef, SampleFileError> {
    let offsets = OffsetBuffer::from_lengths(lists.clone().map(<[BucketSpan]>::len));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(lists.clone().flatten().map(|s| s.offset))),
        Arc::new(UInt32Array::from_iter_values(lists.flatten().map(|s| s.length))),
    ];
    let spans = StructArray::try_new(span_fields(), columns, None)?;
    Ok(Arc::new(ListArray::try_new(list_item(DataType::Struct(span_fields())), offsets, Arc::new(spans), None)?))
}

/// The histogram column of a batch whose schema has been checked.
pub(super) struct Histograms<'a> {
    whole: &'a StructArray,
    hints: &'a StringArray,
    schemas: &'a Int32Array,
    floats: [&'a Float64Array; 4],
    lists: [&'a ListArray; 5],
}

impl<'a> Histograms<'a> {
    pub(super) fn of(column: &'a ArrayRef) -> Result<Self, SampleFileError> {
        let wrong = || SampleFileError::Malformed("`histogram` is not one".to_owned());
        let whole = column.as_struct_opt().ok_or_else(wrong)?;
        let columns = whole.columns();
        let [hints, schemas, a, b, c, d, rest @ ..] = columns else { return Err(wrong()) };
        let [e, f, g, h, i] = rest else { return Err(wrong()) };
        let float = |column: &'a ArrayRef| column.as_primitive_opt::<Float64Type>().ok_or_else(wrong);
        let list = |column: &'a ArrayRef| column.as_list_opt::<i32>().ok_or_else(wrong);
        Ok(Self {
            whole,
            hints: hints.as_string_opt::<i32>().ok_or_else(wrong)?,
            schemas: schemas.as_primitive_opt::<Int32Type>().ok_or_else(wrong)?,
            floats: [float(a)?, float(b)?, float(c)?, float(d)?],
            lists: [list(e)?, list(f)?, list(g)?, list(h)?, list(i)?],
        })
    }

    /// The histogram of a row; `None` where there is none.
    pub(super) fn get(&self, row: usize) -> Result<Option<NativeHistogram>, SampleFileError> {
        if self.whole.is_null(row) {
            return Ok(None);
        }
        let hint = self.hints.value(row);
        let wrong = |what: &str| SampleFileError::Malformed(what.to_owned());
        let [zero_threshold, zero_count, count, sum] = self.floats.map(|column| column.value(row));
        let numbers = |list: &ListArray| -> Result<Vec<f64>, SampleFileError> {
            let values = list.value(row);
            let values = values.as_primitive_opt::<Float64Type>().ok_or_else(|| wrong("counts must be numbers"))?;
            Ok(values.values().to_vec())
        };
        let spans = |list: &ListArray| -> Result<Vec<BucketSpan>, SampleFileError> {
            let values = list.value(row);
            let wrong = || wrong("spans must be pairs of numbers");
            let [offsets, lengths] = values.as_struct_opt().ok_or_else(wrong)?.columns() else { return Err(wrong()) };
            let offsets = offsets.as_primitive_opt::<Int32Type>().ok_or_else(wrong)?.values();
            let lengths = lengths.as_primitive_opt::<UInt32Type>().ok_or_else(wrong)?.values();
            Ok(offsets.iter().zip(lengths).map(|(o, l)| BucketSpan { offset: *o, length: *l }).collect())
        };
        let [positive_spans, positive_counts, negative_spans, negative_counts, bounds] = self.lists;
        Ok(Some(NativeHistogram {
            reset_hint: hint_of(hint).ok_or_else(|| wrong("an unknown reset hint"))?,
            schema: self.schemas.value(row),
            zero_threshold,
            zero_count,
            count,
            sum,
            positive: Buckets { spans: spans(positive_spans)?, counts: numbers(positive_counts)? },
            negative: Buckets { spans: spans(negative_spans)?, counts: numbers(negative_counts)? },
            custom_bounds: numbers(bounds)?,
        }))
    }
}
