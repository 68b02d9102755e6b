//! Reading a day, whole or in parts. Nothing is taken on trust but the caps.

use arrow::array::{
    Array, ArrayRef, DictionaryArray, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::Int32Type;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::footer::{Part, Parts, check_rows};
use super::sparse::Sparse;
use super::{BATCH_ROWS, MAX_LABELS_BYTES, schema};
use crate::page_headers;
use crate::table::{DayTable, Point, SeriesKey, role_of, role_text};

/// The table in a file's bytes, of format 1 or 2, or what is wrong with them. Of format 1, every service is empty: see
/// [`DayTable::place`].
///
/// The Parquet library may panic on bytes that are not what their digest says; call it where a panic is caught.
pub(crate) fn decode(bytes: Bytes) -> Result<DayTable, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).map_err(|e| e.to_string())?;
    let schema = schema();
    let with_service = builder.schema().fields() == schema.fields();
    if !with_service && !builder.schema().fields().iter().eq(schema.fields().iter().skip(1)) {
        let wanted = "its columns must be service, signal, role, labels, at, value";
        return Err(format!("{wanted}, got {}", builder.schema()));
    }
    check_rows(builder.metadata())?;
    page_headers::check(&bytes, builder.metadata(), 0..builder.metadata().num_row_groups())?;
    let reader = builder.with_batch_size(BATCH_ROWS).build().map_err(|e| e.to_string())?;
    table_of(reader, with_service, &|_| true)
}

/// Of a file of format 2: the rows of the services that are `wanted`, from the bytes of these parts, each checked
/// against its digest. As for [`decode`], a panic must be caught.
pub(crate) fn decode_parts(
    file: &Parts,
    parts: Vec<(Part, Bytes)>,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<DayTable, String> {
    for (part, bytes) in &parts {
        part.check(bytes)?;
    }
    let chosen: Vec<usize> = parts.iter().map(|(part, _)| part.index).collect();
    let stretches = parts.into_iter().map(|(part, bytes)| (part.range.start, bytes)).collect();
    let file_bytes = Sparse::new(file.file_bytes, stretches);
    page_headers::check(&file_bytes, file.metadata.metadata(), chosen.iter().copied())?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file_bytes, file.metadata.clone());
    let reader = builder.with_row_groups(chosen).with_batch_size(BATCH_ROWS).build().map_err(|e| e.to_string())?;
    table_of(reader, true, wanted)
}

fn table_of(
    reader: ParquetRecordBatchReader,
    with_service: bool,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<DayTable, String> {
    let mut rows = Rows { table: DayTable::default(), last: None, run: None };
    for batch in reader {
        rows.add(&Columns::of(&batch.map_err(|e| e.to_string())?, with_service)?, wanted)?;
    }
    rows.close();
    Ok(rows.table)
}

/// Rows becoming a table.
struct Rows {
    table: DayTable,
    /// The series before, wanted or not: keys go up.
    last: Option<SeriesKey>,
    /// The points of `last`, where it is wanted.
    run: Option<Vec<Point>>,
}

impl Rows {
    fn add(&mut self, columns: &Columns, wanted: &dyn Fn(&str) -> bool) -> Result<(), String> {
        let mut previous = None;
        for row in 0..columns.values.len() {
            let ids = columns.ids(row);
            if previous != Some(ids) {
                previous = Some(ids);
                self.open(columns.key(row)?, wanted)?;
            }
            let Some(points) = self.run.as_mut() else { continue };
            let time = columns.at.value(row);
            if points.last().is_some_and(|last| last.0 >= time) {
                return Err(format!("times must go up, {time} ms does not (row {row} of a batch)"));
            }
            points.push((time, columns.values.value(row)));
        }
        Ok(())
    }

    /// Goes on with a series, or starts one.
    fn open(&mut self, key: Key<'_>, wanted: &dyn Fn(&str) -> bool) -> Result<(), String> {
        if self.last.as_ref().is_some_and(|last| key.is(last)) {
            return Ok(());
        }
        if key.labels.len() > MAX_LABELS_BYTES {
            return Err(format!("labels must be at most {MAX_LABELS_BYTES} bytes, got {}", key.labels.len()));
        }
        self.close();
        let owned = key.owned(self.last.as_ref());
        if self.last.as_ref().is_some_and(|last| *last >= owned) {
            return Err(format!("rows must be sorted, {} {} is out of order", owned.signal, owned.labels));
        }
        self.run = wanted(&owned.service).then(Vec::new);
        self.last = Some(owned);
        Ok(())
    }

    fn close(&mut self) {
        if let (Some(points), Some(key)) = (self.run.take(), &self.last) {
            self.table.series.insert(key.clone(), points);
        }
    }
}

/// What a row belongs to.
struct Key<'a> {
    service: &'a str,
    signal: &'a str,
    role: &'static str,
    labels: &'a str,
}

impl Key<'_> {
    fn is(&self, other: &SeriesKey) -> bool {
        *self.labels == *other.labels
            && *self.signal == *other.signal
            && self.role == other.role
            && *self.service == *other.service
    }

    /// Shares the texts of the series before.
    fn owned(&self, before: Option<&SeriesKey>) -> SeriesKey {
        let shared = |text: &str, known: Option<&std::sync::Arc<str>>| match known {
            Some(known) if **known == *text => known.clone(),
            _ => text.into(),
        };
        SeriesKey {
            service: shared(self.service, before.map(|k| &k.service)),
            signal: shared(self.signal, before.map(|k| &k.signal)),
            role: self.role,
            labels: self.labels.into(),
        }
    }
}

/// A batch's columns, checked to be what they should.
struct Columns<'a> {
    /// `None` in format 1.
    services: Option<Texts<'a>>,
    signals: Texts<'a>,
    roles: Texts<'a>,
    labels: Texts<'a>,
    at: &'a TimestampMillisecondArray,
    values: &'a Float64Array,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch, with_service: bool) -> Result<Self, String> {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("column {name} is missing"));
        let at = column("at")?.as_any().downcast_ref::<TimestampMillisecondArray>().ok_or("`at` is not a time")?;
        let values = column("value")?.as_any().downcast_ref::<Float64Array>().ok_or("`value` is not a number")?;
        if at.null_count() + values.null_count() > 0 {
            return Err("it must have no nulls".to_owned());
        }
        let services = if with_service { Some(Texts::of(column("service")?)?) } else { None };
        let (signals, roles) = (Texts::of(column("signal")?)?, Texts::of(column("role")?)?);
        Ok(Self { services, signals, roles, labels: Texts::of(column("labels")?)?, at, values })
    }

    /// Equal for rows of one series; of one series they may differ.
    fn ids(&self, row: usize) -> [i32; 4] {
        let service = self.services.as_ref().map_or(0, |services| services.id(row));
        [service, self.signals.id(row), self.roles.id(row), self.labels.id(row)]
    }

    fn key(&self, row: usize) -> Result<Key<'_>, String> {
        let [service, signal, role, labels] = self.ids(row);
        let role = self.roles.text(role)?;
        Ok(Key {
            service: self.services.as_ref().map_or(Ok(""), |services| services.text(service))?,
            signal: self.signals.text(signal)?,
            role: role_text(role_of(role).ok_or_else(|| format!("unknown role {role:?}"))?),
            labels: self.labels.text(labels)?,
        })
    }
}

/// A dictionary column, checked to hold texts.
struct Texts<'a> {
    keys: &'a [i32],
    texts: &'a StringArray,
}

impl<'a> Texts<'a> {
    fn of(column: &'a ArrayRef) -> Result<Self, String> {
        let column = column.as_any().downcast_ref::<DictionaryArray<Int32Type>>().ok_or("a text column is not one")?;
        let texts = column.values().as_any().downcast_ref::<StringArray>().ok_or("a text column is not one")?;
        if column.null_count() > 0 {
            return Err("it must have no nulls".to_owned());
        }
        Ok(Self { keys: column.keys().values(), texts })
    }

    /// -1, which is in no dictionary, past the end.
    fn id(&self, row: usize) -> i32 {
        self.keys.get(row).copied().unwrap_or(-1)
    }

    fn text(&self, id: i32) -> Result<&'a str, String> {
        let index = usize::try_from(id).ok().filter(|i| *i < self.texts.len());
        index.map(|i| self.texts.value(i)).ok_or_else(|| format!("text {id} is not in its dictionary"))
    }
}
