//! Lines of a text: a byte-order mark and carriage returns taken off, empty ones left out, long ones not held, and a
//! last one without its newline told apart, because the writer may have been cut off in it.

use std::io::{self, BufRead, Read};

/// A line, or what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// With its newline in the text.
    Whole(&'a [u8]),
    /// The text ends, or fails, in it.
    Last(&'a [u8]),
    /// More bytes than a line may have.
    TooLong,
}

/// Calls `each` with every line of at most `max` bytes, and with what is known of the others. On an error, what was read
/// of the line before it is [`Line::Last`].
pub(crate) fn for_each_line(text: &mut impl BufRead, max: usize, mut each: impl FnMut(Line<'_>)) -> io::Result<()> {
    let mut line = Vec::new();
    let mut is_first = true;
    loop {
        line.clear();
        // One more than may be there, and the newline.
        let read = text.by_ref().take(max as u64 + 2).read_until(b'\n', &mut line);
        let ended = line.pop_if(|last| *last == b'\n').is_some();
        if std::mem::take(&mut is_first) && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        line.pop_if(|last| *last == b'\r');
        if line.len() > max {
            each(Line::TooLong);
            if !ended && read.is_ok() {
                text.skip_until(b'\n')?;
            }
        } else if !line.iter().all(u8::is_ascii_whitespace) {
            each(if ended { Line::Whole(&line) } else { Line::Last(&line) });
        }
        if read? == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(text: &[u8], max: usize) -> Vec<String> {
        let mut found = Vec::new();
        for_each_line(&mut &*text, max, |line| found.push(format!("{line:?}"))).unwrap();
        found
    }

    fn whole(line: &str) -> String {
        format!("{:?}", Line::Whole(line.as_bytes()))
    }

    fn last(line: &str) -> String {
        format!("{:?}", Line::Last(line.as_bytes()))
    }

    #[test]
    fn marks_returns_and_empty_lines_are_no_content() {
        assert_eq!(lines(b"\xef\xbb\xbfa\r\n\n \r\nb", 9), [whole("a"), last("b")]);
        assert_eq!(lines(b"a\n", 9), [whole("a")]);
        assert_eq!(lines(b"", 9), [""; 0]);
    }

    #[test]
    fn a_long_line_is_passed_over_and_the_next_is_read() {
        assert_eq!(lines(b"123\n1234\n12345678901\n12\n", 3), [&whole("123"), "TooLong", "TooLong", &whole("12")]);
        assert_eq!(lines(b"12345", 3), ["TooLong"]);
        assert_eq!(lines(b"123\r\nx\n", 3), [whole("123"), whole("x")]);
    }

    proptest! {
        #[test]
        fn every_line_that_fits_is_given(texts in proptest::collection::vec("[a-z]{1,12}", 0..20), max in 1_usize..12) {
            let text: String = texts.iter().map(|t| format!("{t}\n")).collect();
            let wanted: Vec<String> =
                texts.iter().map(|t| if t.len() <= max { whole(t) } else { "TooLong".to_owned() }).collect();
            prop_assert_eq!(lines(text.as_bytes(), max), wanted);
        }

        #[test]
        fn any_bytes_end(text in proptest::collection::vec(any::<u8>(), 0..300), max in 0_usize..20) {
            lines(&text, max);
        }
    }
}
