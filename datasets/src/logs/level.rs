//! The level of a line: what a field says, or what its text looks like.

/// How bad it is. Ordered from the worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Level {
    /// The process gives up: fatal, panic, critical, emergency, alert.
    Fatal,
    /// Something failed.
    Error,
    /// Something is odd.
    Warn,
    /// As it should be; notices too.
    Info,
    /// For developers.
    Debug,
    /// For developers, in detail.
    Trace,
    /// The line does not say.
    #[default]
    Unknown,
}

/// How much of a text is looked at.
const LOOKED_AT: usize = 160;

impl Level {
    /// From the worst.
    pub(crate) const ALL: [Self; 7] =
        [Self::Fatal, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace, Self::Unknown];

    /// The value of the label `level`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Fatal => "fatal",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
            Self::Unknown => "unknown",
        }
    }

    /// The level of that label value.
    pub(crate) fn of_label(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }

    /// What a field says: a word in any case, or a number of bunyan and pino (10 to 60) or of syslog (0 to 7). `None`
    /// for anything else.
    pub(crate) fn of_field(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() > 16 {
            return None;
        }
        if let Ok(number) = text.parse::<u8>() {
            return Some(match number {
                0..=2 | 60.. => Self::Fatal,
                3 | 50..=59 => Self::Error,
                4 | 40..=49 => Self::Warn,
                5 | 6 | 30..=39 => Self::Info,
                7 | 20..=29 => Self::Debug,
                10..=19 => Self::Trace,
                8 | 9 => return None,
            });
        }
        of_word(text.to_ascii_lowercase().as_bytes())
    }

    /// What a text looks like, by its beginning: a klog prefix (`E0102 10:20:30`), `level=…` of logfmt, a word such as
    /// `ERROR` in capitals, or a word such as `error:` at the very start. The first that is found.
    pub(crate) fn of_text(text: &str) -> Self {
        let bytes = text.as_bytes();
        let bytes = bytes.get(..LOOKED_AT).unwrap_or(bytes);
        if let Some(level) = klog(bytes) {
            return level;
        }
        let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        let mut before: &[u8] = b"";
        let mut at = 0;
        let mut is_start = true;
        while at < bytes.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            let length = rest.iter().take_while(|b| is_part(b)).count();
            if length == 0 {
                at += 1;
                continue;
            }
            let word = rest.get(..length).unwrap_or_default();
            let after = rest.get(length..).unwrap_or_default();
            let is_key = matches!(before, b"level" | b"lvl" | b"severity");
            let follows = at.checked_sub(1).and_then(|i| bytes.get(i)).copied();
            let is_value = is_key && matches!(follows, Some(b'=' | b'"' | b':' | b' '));
            let is_capital = word.iter().all(u8::is_ascii_uppercase);
            let is_opening = is_start && word.len() >= 4 && matches!(after, [b':' | b']', ..]);
            // The end of what is looked at may be the middle of a word.
            let is_whole = at + length < bytes.len() || bytes.len() == text.len();
            if is_whole && (is_value || is_capital || is_opening) && word.len() <= 9 {
                let mut lower = [0; 9];
                for (to, from) in lower.iter_mut().zip(word) {
                    *to = from.to_ascii_lowercase();
                }
                if let Some(level) = of_word(lower.get(..word.len()).unwrap_or_default()) {
                    return level;
                }
            }
            before = word;
            at += length;
            is_start = false;
        }
        Self::Unknown
    }
}

/// Of a word in lower case.
fn of_word(word: &[u8]) -> Option<Level> {
    Some(match word {
        b"fatal" | b"panic" | b"critical" | b"crit" | b"emerg" | b"emergency" | b"alert" => Level::Fatal,
        b"error" | b"err" | b"severe" => Level::Error,
        b"warn" | b"warning" => Level::Warn,
        b"info" | b"notice" | b"informational" | b"information" => Level::Info,
        b"debug" | b"dbg" | b"fine" => Level::Debug,
        b"trace" | b"verbose" | b"finer" | b"finest" => Level::Trace,
        _ => return None,
    })
}

/// `E0102 10:20:30.5 …`.
fn klog(text: &[u8]) -> Option<Level> {
    let [letter, a, b, c, d, b' ', h, m, b':', ..] = text else { return None };
    if ![a, b, c, d, h, m].into_iter().all(u8::is_ascii_digit) {
        return None;
    }
    match letter {
        b'F' => Some(Level::Fatal),
        b'E' => Some(Level::Error),
        b'W' => Some(Level::Warn),
        b'I' => Some(Level::Info),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_says_its_level() {
        let texts = [
            ("E0102 10:20:30.123456       1 reflector.go:138] failed to list", Level::Error),
            ("I0102 10:20:30.123456       1 main.go:1] started ERROR", Level::Info),
            ("2026-01-02 10:20:30 ERROR [main] c.a.Cart - no stock", Level::Error),
            ("time=\"2026-01-02\" level=warning msg=\"slow\"", Level::Warn),
            ("ts=1 lvl=info msg=started", Level::Info),
            ("{\"severity\": \"error\"", Level::Error),
            ("[FATAL] out of memory", Level::Fatal),
            ("panic: runtime error: index out of range", Level::Fatal),
            ("error: no such file", Level::Error),
            ("no error here, only information", Level::Unknown),
            ("GET /errors/ERRORS 200", Level::Unknown),
            ("terror WARNINGS", Level::Unknown),
            ("", Level::Unknown),
        ];
        for (text, level) in texts {
            assert_eq!(Level::of_text(text), level, "{text:?}");
        }
    }

    #[test]
    fn a_field_says_its_level() {
        let fields = [
            ("ERROR", Some(Level::Error)),
            ("Warning", Some(Level::Warn)),
            ("50", Some(Level::Error)),
            ("30", Some(Level::Info)),
            ("3", Some(Level::Error)),
            ("critical", Some(Level::Fatal)),
            ("9", None),
            ("cart", None),
        ];
        for (text, level) in fields {
            assert_eq!(Level::of_field(text), level, "{text:?}");
        }
        for level in Level::ALL {
            assert_eq!(Level::of_label(level.as_str()), Some(level));
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_level(text in "\\PC{0,200}") {
            Level::of_text(&text);
            Level::of_field(&text);
        }
    }
}
