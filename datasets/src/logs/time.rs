//! The time of a record, in any of the forms that Fluent Bit writes: `double`, `epoch`, `epoch_ms`, `iso8601`,
//! `java_sql_timestamp`, and the nanoseconds that some parsers leave.

use chrono::{DateTime, NaiveDateTime};
use forewarn_schema::Timestamp;

/// Seconds of any time of the years 1973 to 5138 are below this; milliseconds, microseconds and nanoseconds above it.
const SECONDS_END: f64 = 1e11;

/// A number of seconds, milliseconds, microseconds or nanoseconds: which, its size tells. `None` for what is no time.
pub(crate) fn from_number(number: f64) -> Option<Timestamp> {
    let per_second = match number.abs() {
        n if n < SECONDS_END => 1.0,
        n if n < SECONDS_END * 1e3 => 1e3,
        n if n < SECONDS_END * 1e6 => 1e6,
        n if n < SECONDS_END * 1e9 => 1e9,
        // NaN and infinities come here too.
        _ => return None,
    };
    // Down, not to the nearest: 59.9999 s lies in the minute that it is in. But a float may be that much below the
    // millisecond that was meant.
    let off_by = 5e-4;
    Some(Timestamp::from_millis((number / per_second * 1000.0 + off_by).floor() as i64))
}

/// RFC 3339, the same with a space or without a zone (then UTC), or a number. `None` for what is no time.
pub(crate) fn from_text(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if text.len() > 64 {
        return None;
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(Timestamp::from_millis(time.timestamp_millis()));
    }
    if let Ok(number) = text.parse::<f64>() {
        return from_number(number);
    }
    // As `strftime` writes a zone: +0200.
    if let Ok(time) = DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z") {
        return Some(Timestamp::from_millis(time.timestamp_millis()));
    }
    let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
    let naive = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())?;
    Some(Timestamp::from_millis(naive.and_utc().timestamp_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_is_the_same_time() {
        let wanted: Timestamp = "2026-01-02T10:20:30.5Z".parse().unwrap();
        let texts = [
            "2026-01-02T10:20:30.500Z",
            "2026-01-02T10:20:30.500000Z",
            "2026-01-02T12:20:30.5+02:00",
            "2026-01-02T12:20:30.5+0200",
            "2026-01-02T10:20:30.500000",
            "2026-01-02 10:20:30.500000",
            "1767349230.5",
            "1767349230500",
        ];
        for text in texts {
            assert_eq!(from_text(text), Some(wanted), "{text}");
        }
        for number in [1_767_349_230.5, 1_767_349_230_500.0, 1_767_349_230_500_000.0, 1_767_349_230_500_000_000.0] {
            assert_eq!(from_number(number), Some(wanted), "{number}");
        }
        assert_eq!(from_number(1_767_349_230.999_999).unwrap(), "2026-01-02T10:20:30.999Z".parse().unwrap());
        assert_eq!(from_number(1_767_349_230.123).unwrap(), "2026-01-02T10:20:30.123Z".parse().unwrap());
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "now", "nan", "inf", "2026-13-01T00:00:00Z", "1e300", &"1".repeat(100)] {
            assert_eq!(from_text(text), None, "{text:?}");
        }
        assert_eq!(from_number(f64::NAN), None);
    }

    proptest! {
        #[test]
        fn any_text_ends(text in "\\PC{0,80}") {
            let _ = from_text(&text);
        }

        #[test]
        fn a_time_reads_back(millis in 0_i64..4_000_000_000_000) {
            let at = Timestamp::from_millis(millis);
            prop_assert_eq!(from_text(&at.to_rfc3339()), Some(at));
            if millis > 100_000_000_000 {
                prop_assert_eq!(from_number(at.seconds()), Some(at));
            }
        }
    }
}
