//! Names of metrics and labels as Prometheus has them: the unit spelled out, `_total` on what only rises, nothing but letters,
//! digits and underscores.

/// Units of UCUM that have a name in Prometheus.
const UNITS: [(&str, &str); 28] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
    ("mo", "months"),
    ("y", "years"),
];

/// The same after a slash.
const PER: [(&str, &str); 7] =
    [("s", "second"), ("m", "minute"), ("h", "hour"), ("d", "day"), ("w", "week"), ("mo", "month"), ("y", "year")];

/// What the name says besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suffix {
    /// A sum that only rises.
    Total,
    /// A gauge: one of unit `1` is a ratio.
    Gauge,
    /// Neither.
    None,
}

/// A metric's name; empty where nothing of it is left.
pub(super) fn metric(name: &str, unit: &str, suffix: Suffix) -> String {
    let mut words: Vec<String> = words(name);
    let (main, per) = unit.split_once('/').map_or((unit, ""), |(main, per)| (main, per));
    let main = word_of(main, &UNITS);
    if !main.is_empty() && !words.contains(&main) {
        words.push(main);
    }
    let per = word_of(per, &PER);
    if !per.is_empty() && !words.contains(&per) {
        words.extend(["per".to_owned(), per]);
    }
    let last = match suffix {
        Suffix::Total => Some("total"),
        Suffix::Gauge if unit.trim() == "1" => Some("ratio"),
        Suffix::Gauge | Suffix::None => None,
    };
    if let Some(last) = last {
        words.retain(|word| word != last);
        words.push(last.to_owned());
    }
    let joined = words.join("_");
    if joined.starts_with(|c: char| c.is_ascii_digit()) { format!("_{joined}") } else { joined }
}

/// A label's name: what cannot stand in one becomes an underscore, several of which become one; empty where nothing is left.
pub(super) fn label(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    for c in key.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.ends_with('_') {
            name.push('_');
        }
    }
    match name.as_bytes().first() {
        Some(first) if first.is_ascii_digit() => format!("key_{name}"),
        // One that begins so is for internal use.
        Some(b'_') => format!("key{name}"),
        _ => name,
    }
}

/// What stands between the characters that cannot be in a name; the colon can.
fn words(text: &str) -> Vec<String> {
    let within = |c: char| c.is_ascii_alphanumeric() || c == ':';
    text.split(|c| !within(c)).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// A unit as one word; an annotation in braces is none.
fn word_of(unit: &str, known: &[(&str, &str)]) -> String {
    let unit = unit.trim();
    if unit.contains(['{', '}']) {
        return String::new();
    }
    match known.iter().find(|(short, _)| *short == unit) {
        Some((_, word)) => (*word).to_owned(),
        None => words(unit).join("_"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_in_their_unit_and_what_rises_in_total() {
        for (name, unit, suffix, expected) in [
            ("http.server.duration", "s", Suffix::None, "http_server_duration_seconds"),
            ("http.server.requests", "{request}", Suffix::Total, "http_server_requests_total"),
            ("process.memory.usage", "By", Suffix::Gauge, "process_memory_usage_bytes"),
            ("system.io.bytes", "By", Suffix::Total, "system_io_bytes_total"),
            ("requests_total", "", Suffix::Total, "requests_total"),
            ("total.requests", "1", Suffix::Total, "requests_total"),
            ("system.cpu.utilization", "1", Suffix::Gauge, "system_cpu_utilization_ratio"),
            ("speed", "km/h", Suffix::Gauge, "speed_km_per_hour"),
            ("packets", "{packet}/s", Suffix::Gauge, "packets_per_second"),
            ("3rd.place", "", Suffix::Gauge, "_3rd_place"),
            ("a__b--c", "", Suffix::None, "a_b_c"),
            ("job:latency", "ms", Suffix::None, "job:latency_milliseconds"),
            ("größe", "", Suffix::None, "gr_e"),
            ("...", "", Suffix::None, ""),
        ] {
            assert_eq!(metric(name, unit, suffix), expected, "{name} in {unit}");
        }
    }

    #[test]
    fn labels_have_no_dots_and_no_two_underscores() {
        for (key, expected) in [
            ("http.method", "http_method"),
            ("a..b", "a_b"),
            ("1st", "key_1st"),
            ("_private", "key_private"),
            ("__name__", "key_name_"),
            ("k8s.pod/name", "k8s_pod_name"),
            ("", ""),
        ] {
            assert_eq!(label(key), expected);
        }
    }
}
