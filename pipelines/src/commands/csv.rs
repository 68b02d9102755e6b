//! CSV of numbers, plain or under gzip, read line by line: a header, then rows of as many fields. Every mistake names
//! its line and column. Quotes around a field are taken off; a comma inside quotes is not understood, and
//! is refused as a field too many.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use flate2::bufread::MultiGzDecoder;

/// Longer lines are no rows of numbers.
const LINE_CAP: u64 = 1 << 20;

/// What a gzip member begins with (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// See the module.
pub(super) struct NumberRows {
    reader: Box<dyn BufRead>,
    path: String,
    header: Vec<String>,
    line_number: u64,
    line: Vec<u8>,
    /// How many leading columns are text.
    text_columns: usize,
}

/// One row.
pub(super) struct NumberRow {
    /// The leading columns that are text, as they stand.
    pub(super) text: Vec<String>,
    /// The others; NaN where a field is empty or says NaN.
    pub(super) numbers: Vec<f64>,
}

impl NumberRows {
    /// Opens `path` and reads its header; the first `text_columns` columns are not numbers.
    pub(super) fn open(path: &Path, text_columns: usize) -> anyhow::Result<Self> {
        let cannot_read = || format!("cannot read {}", path.display());
        let mut file = BufReader::new(File::open(path).with_context(cannot_read)?);
        let zipped = file.fill_buf().with_context(cannot_read)?.starts_with(&GZIP);
        let mut rows = Self {
            reader: if zipped { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(file) },
            path: path.display().to_string(),
            header: Vec::new(),
            line_number: 0,
            line: Vec::new(),
            text_columns,
        };
        if !rows.next_line()? {
            bail!("{}: wanted a header and rows, got an empty file", rows.path);
        }
        rows.header = rows.fields()?;
        if rows.header.len() <= text_columns {
            bail!("{}:1: wanted at least {} columns, got {}", rows.path, text_columns + 1, rows.header.len());
        }
        if rows.header[text_columns..].iter().all(|name| number(name).is_some()) {
            bail!("{}:1: wanted a header of column names, got {:?}", rows.path, rows.header.join(","));
        }
        Ok(rows)
    }

    /// The columns' names.
    pub(super) fn header(&self) -> &[String] {
        &self.header
    }

    /// The next row; `None` at the end. Blank lines are passed over.
    pub(super) fn next_row(&mut self) -> anyhow::Result<Option<NumberRow>> {
        while self.next_line()? {
            let mut fields = self.fields()?;
            if fields.len() == 1 && fields[0].is_empty() {
                continue;
            }
            let wanted = self.header.len();
            if fields.len() != wanted {
                bail!("{}:{}: wanted {wanted} fields, got {}", self.path, self.line_number, fields.len());
            }
            let mut numbers = Vec::with_capacity(wanted - self.text_columns);
            for (i, field) in fields.iter().enumerate().skip(self.text_columns) {
                let Some(value) = number(field) else {
                    bail!("{}: wanted a number, got {field:?}", self.place(i));
                };
                numbers.push(value);
            }
            fields.truncate(self.text_columns);
            return Ok(Some(NumberRow { text: fields, numbers }));
        }
        Ok(None)
    }

    /// Where the last row's `column` stands, counted from 0, for a message.
    pub(super) fn place(&self, column: usize) -> String {
        format!("{}:{}: column {} ({:?})", self.path, self.line_number, column + 1, self.header[column])
    }

    fn next_line(&mut self) -> anyhow::Result<bool> {
        self.line.clear();
        let read = (&mut self.reader).take(LINE_CAP).read_until(b'\n', &mut self.line);
        let read = read.with_context(|| format!("cannot read {}", self.path))?;
        self.line_number += 1;
        if read as u64 == LINE_CAP && self.line.last() != Some(&b'\n') {
            bail!("{}:{}: wanted a line of at most {LINE_CAP} bytes", self.path, self.line_number);
        }
        Ok(read > 0)
    }

    fn fields(&self) -> anyhow::Result<Vec<String>> {
        let Ok(line) = std::str::from_utf8(&self.line) else {
            bail!("{}:{}: wanted UTF-8 text", self.path, self.line_number);
        };
        let line = line.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
        Ok(line.split(',').map(|field| field.trim().trim_matches('"').to_owned()).collect())
    }
}

/// An infinite value counts as missing: no statistic survives it.
fn number(field: &str) -> Option<f64> {
    if field.is_empty() {
        return Some(f64::NAN);
    }
    field.parse::<f64>().ok().map(|value| if value.is_finite() { value } else { f64::NAN })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn read(text: &str) -> anyhow::Result<Vec<Vec<f64>>> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let mut rows = NumberRows::open(file.path(), 1)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next_row()? {
            all.push(row.numbers);
        }
        Ok(all)
    }

    fn mistake(text: &str) -> String {
        let error = read(text).unwrap_err().to_string();
        // Without the temporary file's name.
        error.split_once(':').unwrap().1.to_owned()
    }

    #[test]
    fn numbers_are_read_and_holes_are_missing() {
        let rows = read("time,a,b\r\n\"2020-01-01 00:00:00\",1.5,-2e3\n\n2,,NaN\n").unwrap();
        assert_eq!(rows[0], [1.5, -2000.0]);
        assert!(rows[1].iter().all(|v| v.is_nan()));
    }

    #[test]
    fn what_is_under_gzip_reads_the_same() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for part in ["t,a\n1,2\n", "2,3\n"] {
            let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            member.write_all(part.as_bytes()).unwrap();
            file.write_all(&member.finish().unwrap()).unwrap();
        }
        let mut rows = NumberRows::open(file.path(), 1).unwrap();
        assert_eq!(rows.next_row().unwrap().unwrap().numbers, [2.0]);
        assert_eq!(rows.next_row().unwrap().unwrap().numbers, [3.0]);
        assert!(rows.next_row().unwrap().is_none());
        // Cut off in the middle it is a mistake, not an end.
        let length = file.as_file().metadata().unwrap().len();
        file.as_file().set_len(length - 12).unwrap();
        let mut rows = NumberRows::open(file.path(), 1).unwrap();
        assert!(std::iter::from_fn(|| rows.next_row().transpose()).any(|row| row.is_err()));
    }

    #[test]
    fn a_mistake_names_its_line_and_column() {
        assert_eq!(mistake("t,a\n1,2\n2,oops\n"), "3: column 2 (\"a\"): wanted a number, got \"oops\"");
        assert_eq!(mistake("t,a\n1,2,3\n"), "2: wanted 2 fields, got 3");
        assert_eq!(mistake("1,2\n2,3\n"), "1: wanted a header of column names, got \"1,2\"");
        assert_eq!(mistake(""), " wanted a header and rows, got an empty file");
        assert_eq!(mistake("t\n"), "1: wanted at least 2 columns, got 1");
    }
}
