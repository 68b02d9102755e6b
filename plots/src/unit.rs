//! Units that a person reads: bytes with binary prefixes, spans of time, percent, counts; and times in
//! UTC. Number and unit are joined by a no-break space, so that a line never ends between them.

use forewarn_schema::Timestamp;

/// No-break space.
const NB: char = '\u{a0}';

/// What the numbers of an axis mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, shown as KiB, MiB, GiB.
    Bytes,
    /// Seconds, shown as a span: `120 ms`, `4 min 10 s`, `5 h 20 min`, `12 d 4 h`.
    Seconds,
    /// A share, 1 is shown as `100 %`.
    Ratio,
    /// A plain number, shown with k, M, G from ten thousand on.
    #[default]
    Count,
    /// Events per second, shown as a count with `/s`.
    PerSecond,
}

impl Unit {
    /// `value` for a person, to three significant digits (spans: two units). NaN is `no value`, the
    /// infinities are `∞` and `−∞`.
    pub fn format(self, value: f64) -> String {
        if value.is_nan() {
            return "no value".to_owned();
        }
        if value.is_infinite() {
            return if value > 0.0 { "∞".to_owned() } else { "−∞".to_owned() };
        }
        let magnitude = value.abs();
        let text = match self {
            Self::Bytes => prefixed(magnitude, 1024.0, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]),
            Self::Seconds => span(magnitude),
            Self::Ratio => format!("{}{NB}%", significant(magnitude * 100.0)),
            Self::Count => count(magnitude),
            Self::PerSecond => format!("{}/s", count(magnitude)),
        };
        // A value that rounds to nothing has no sign.
        let is_nothing = !text.chars().any(|c| ('1'..='9').contains(&c));
        if value < 0.0 && !is_nothing { format!("−{text}") } else { text }
    }
}

fn count(magnitude: f64) -> String {
    if magnitude < 10_000.0 {
        significant_from(magnitude, 4)
    } else {
        prefixed(magnitude, 1000.0, 1000.0, &["", "k", "M", "G", "T", "P", "E"]).replace(NB, "")
    }
}

/// `magnitude` in the largest of `names` that it fills; from `carry` on the next one.
fn prefixed(magnitude: f64, base: f64, carry: f64, names: &[&str]) -> String {
    let mut scaled = magnitude;
    let mut name = 0;
    // 1023.7 MiB would be rounded to "1024 MiB", which reads worse than "1 GiB".
    while scaled >= carry - 0.5 && name + 1 < names.len() {
        scaled /= base;
        name += 1;
    }
    format!("{}{NB}{}", significant_from(scaled, if base > 1000.0 { 4 } else { 3 }), names[name])
}

fn span(seconds: f64) -> String {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 3600.0;
    const DAY: f64 = 86_400.0;
    if seconds == 0.0 {
        return format!("0{NB}s");
    }
    if seconds < 0.000_999_5 {
        return format!("{}{NB}µs", significant(seconds * 1e6));
    }
    if seconds < 0.9995 {
        return format!("{}{NB}ms", significant(seconds * 1e3));
    }
    if seconds < 59.95 {
        return format!("{}{NB}s", significant(seconds));
    }
    let (major, major_name, minor, minor_name) = if seconds < HOUR - 0.5 {
        (MINUTE, "min", 1.0, "s")
    } else if seconds < DAY - 30.0 {
        (HOUR, "h", MINUTE, "min")
    } else {
        (DAY, "d", HOUR, "h")
    };
    let in_minor = (seconds / minor).round();
    let per_major = major / minor;
    let whole = (in_minor / per_major).floor();
    let rest = in_minor - whole * per_major;
    // Past a hundred days the hours say nothing.
    if rest == 0.0 || (major == DAY && whole >= 100.0) {
        if whole >= 1e6 { format!("{whole:.1e}{NB}{major_name}") } else { format!("{whole}{NB}{major_name}") }
    } else {
        format!("{whole}{NB}{major_name} {rest}{NB}{minor_name}")
    }
}

fn significant(value: f64) -> String {
    significant_from(value, 3)
}

/// Three significant digits, but never fewer than the whole number where that has up to `whole` digits;
/// no trailing zeros; powers of ten where it would get long.
fn significant_from(value: f64, whole: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if value.is_infinite() {
        return "∞".to_owned();
    }
    let digits = value.log10().floor() as i32 + 1;
    if digits > whole as i32 || digits < -4 {
        return format!("{value:.1e}");
    }
    let decimals = usize::try_from(3 - digits).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// `2026-01-08 14:20 UTC`; the number of milliseconds where the year leaves the calendar.
pub fn format_utc(at: Timestamp) -> String {
    calendar(at, "%Y-%m-%d %H:%M UTC")
}

/// `8 Jan 14:20`, in UTC, for places that have said so.
pub fn format_day_time(at: Timestamp) -> String {
    calendar(at, "%-d %b %H:%M")
}

pub(crate) fn calendar(at: Timestamp, format: &str) -> String {
    match chrono::DateTime::from_timestamp_millis(at.millis()) {
        Some(time) => time.format(format).to_string(),
        None => format!("{} ms", at.millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(unit: Unit, value: f64) -> String {
        unit.format(value).replace(NB, " ")
    }

    #[test]
    fn units_read_as_people_write_them() {
        assert_eq!(plain(Unit::Bytes, 0.0), "0 B");
        assert_eq!(plain(Unit::Bytes, 512.0 * 1024.0 * 1024.0), "512 MiB");
        assert_eq!(plain(Unit::Bytes, 1.5 * 1024.0 * 1024.0 * 1024.0), "1.5 GiB");
        assert_eq!(plain(Unit::Bytes, 1023.9 * 1024.0), "1 MiB");
        assert_eq!(plain(Unit::Seconds, 0.12), "120 ms");
        assert_eq!(plain(Unit::Seconds, 59.99), "1 min");
        assert_eq!(plain(Unit::Seconds, 19_200.0), "5 h 20 min");
        assert_eq!(plain(Unit::Seconds, 3599.9), "1 h");
        assert_eq!(plain(Unit::Seconds, 86_399.0), "1 d");
        assert_eq!(plain(Unit::Seconds, 1_051_200.0), "12 d 4 h");
        assert_eq!(plain(Unit::Seconds, -90.0), "−1 min 30 s");
        assert_eq!(plain(Unit::Ratio, 0.05), "5 %");
        assert_eq!(plain(Unit::Ratio, 0.001_234), "0.123 %");
        assert_eq!(plain(Unit::Count, 9999.0), "9999");
        assert_eq!(plain(Unit::Count, 12_345.0), "12.3k");
        assert_eq!(plain(Unit::PerSecond, 41.26), "41.3/s");
    }

    #[test]
    fn what_is_no_number_has_a_word() {
        for unit in [Unit::Bytes, Unit::Seconds, Unit::Ratio, Unit::Count, Unit::PerSecond] {
            assert_eq!(unit.format(f64::NAN), "no value");
            assert_eq!(unit.format(f64::INFINITY), "∞");
            for value in [f64::MAX, f64::MIN, f64::MIN_POSITIVE, -0.0] {
                assert!(unit.format(value).chars().count() < 20, "{unit:?} {value}: {}", unit.format(value));
            }
        }
    }
}
