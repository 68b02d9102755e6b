//! Which rows of a file can matter at all, by the bounds that each page has in the file's index: what lets a series'
//! week read its own pages only.

use std::ops::Range;

use forewarn_schema::TimeRange;
use parquet::arrow::arrow_reader::RowSelection;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::page_index::column_index::ColumnIndexMetaData;

use super::SampleFilter;
use super::schema::{AT, METRIC};

/// The rows of pages whose bounds do not rule them out; all of them where a file has no bounds.
pub(super) fn rows(metadata: &ParquetMetaData, filter: Option<&SampleFilter>, range: TimeRange) -> RowSelection {
    let metrics = filter.and_then(SampleFilter::metrics);
    let by_metric = |index: &ColumnIndexMetaData, page: usize| match (index, &metrics) {
        (ColumnIndexMetaData::BYTE_ARRAY(index), Some(metrics)) => {
            let bounds = index.min_values_iter().nth(page).flatten().zip(index.max_values_iter().nth(page).flatten());
            // A bound that was cut short is still one: the largest was rounded up.
            bounds.is_none_or(|(min, max)| metrics.iter().any(|m| min <= m.as_bytes() && m.as_bytes() <= max))
        }
        _ => true,
    };
    let by_time = |index: &ColumnIndexMetaData, page: usize| match index {
        ColumnIndexMetaData::INT64(index) => {
            let bounds = index.min_values_iter().nth(page).flatten().zip(index.max_values_iter().nth(page).flatten());
            bounds.is_none_or(|(min, max)| *min < range.end.millis() && *max >= range.start.millis())
        }
        _ => true,
    };
    of_column(metadata, METRIC, by_metric).intersection(&of_column(metadata, AT, by_time))
}

fn of_column(
    metadata: &ParquetMetaData,
    column: usize,
    wanted: impl Fn(&ColumnIndexMetaData, usize) -> bool,
) -> RowSelection {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let (mut first, mut add) = (0_usize, |range: Range<usize>| match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    });
    for (i, group) in metadata.row_groups().iter().enumerate() {
        let rows = usize::try_from(group.num_rows()).unwrap_or(0);
        let index = metadata.page_index_for_row_group(i);
        match (index.column_index(column), index.page_locations(column)) {
            (Some(bounds), Some(pages)) => {
                let starts: Vec<usize> =
                    pages.iter().map(|p| usize::try_from(p.first_row_index).unwrap_or(0).min(rows)).collect();
                for (page, start) in starts.iter().enumerate() {
                    let end = starts.get(page + 1).copied().unwrap_or(rows);
                    if *start < end && wanted(bounds, page) {
                        add(first + start..first + end);
                    }
                }
            }
            _ if rows > 0 => add(first..first + rows),
            _ => {}
        }
        first += rows;
    }
    RowSelection::from_consecutive_ranges(ranges.into_iter(), first)
}
