//! A line as a record: when, whose, how bad, and what it says.

use std::borrow::Cow;

use forewarn_schema::Timestamp;

use super::fields::{FieldPaths, Value};
use super::level::Level;
use super::options::LogsOptions;
use super::time;

/// A longer name of a service, namespace or pod is cut.
const MAX_NAME: usize = 128;

/// One log line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record<'a> {
    pub(crate) at: Timestamp,
    /// `unknown` where the record does not say.
    pub(crate) service: Cow<'a, str>,
    /// Empty where the record does not say.
    pub(crate) namespace: Cow<'a, str>,
    /// Empty where the record does not say.
    pub(crate) pod: Cow<'a, str>,
    pub(crate) level: Level,
    /// Empty where there is none.
    pub(crate) message: Cow<'a, str>,
}

/// Why a line is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRecord {
    /// It is not one JSON object.
    NotJson,
    /// No field says when.
    NoTime,
}

/// Which fields say what.
#[derive(Clone, Debug)]
pub(crate) struct RecordReader {
    outer: FieldPaths<6>,
    /// For a message that is JSON itself: time, message, level.
    inner: FieldPaths<3>,
}

impl RecordReader {
    pub(crate) fn new(options: &LogsOptions) -> Self {
        let [time, message, level, service] = options.paths();
        let owned = |paths: &[&str]| paths.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        let namespace = owned(&["kubernetes.namespace_name", "namespace", "k8s.namespace.name"]);
        let pod = owned(&["kubernetes.pod_name", "pod", "k8s.pod.name"]);
        Self {
            outer: FieldPaths::new([&time, &message, &level, &service, &namespace, &pod]),
            inner: FieldPaths::new([&time, &message, &level]),
        }
    }

    /// Reads one line.
    pub(crate) fn read<'a>(&self, line: &'a str) -> Result<Record<'a>, NoRecord> {
        let [at, message, level, service, namespace, pod] = self.outer.find(line).map_err(|_| NoRecord::NotJson)?;
        let mut at = at.and_then(|value| time_of(&value));
        let mut level = level.and_then(|value| level_of(&value));
        let mut message = message.map_or(Cow::Borrowed(""), text_of);
        if let Some([inner_at, inner_message, inner_level]) = self.inside(&message) {
            at = at.or_else(|| inner_at.and_then(|value| time_of(&value)));
            level = level.or_else(|| inner_level.and_then(|value| level_of(&value)));
            if let Some(inner) = inner_message {
                message = Cow::Owned(text_of(inner).into_owned());
            }
        }
        let level = level.unwrap_or_else(|| Level::of_text(&message));
        let name = |value: Option<Value<'a>>| value.map_or(Cow::Borrowed(""), |v| shortened(text_of(v)));
        let service = match name(service) {
            none if none.is_empty() => Cow::Borrowed("unknown"),
            service => service,
        };
        let at = at.ok_or(NoRecord::NoTime)?;
        Ok(Record { at, service, namespace: name(namespace), pod: name(pod), level, message })
    }

    /// The fields of a message that is a JSON object.
    fn inside<'m>(&self, message: &'m str) -> Option<[Option<Value<'m>>; 3]> {
        let message = message.trim();
        if message.starts_with('{') && message.ends_with('}') { self.inner.find(message).ok() } else { None }
    }
}

fn time_of(value: &Value<'_>) -> Option<Timestamp> {
    match value {
        Value::Text(text) => time::from_text(text),
        Value::Number(number) => time::from_number(*number),
    }
}

fn level_of(value: &Value<'_>) -> Option<Level> {
    match value {
        Value::Text(text) => Level::of_field(text),
        Value::Number(number) => Level::of_field(&number.to_string()),
    }
}

fn text_of(value: Value<'_>) -> Cow<'_, str> {
    match value {
        Value::Text(text) => text,
        Value::Number(number) => Cow::Owned(number.to_string()),
    }
}

fn shortened(name: Cow<'_, str>) -> Cow<'_, str> {
    if name.len() <= MAX_NAME {
        return name;
    }
    let end = (0..=MAX_NAME).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    Cow::Owned(name.get(..end).unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str) -> Result<Record<'_>, NoRecord> {
        RecordReader::new(&LogsOptions::default()).read(line)
    }

    #[test]
    fn a_line_of_kubernetes_is_read() {
        let line = r#"{"date":1767349230.5,"stream":"stderr","log":"2026-01-02 ERROR no stock\n","kubernetes":{"pod_name":"cart-1","namespace_name":"shop","labels":{"app":"cart","pod-template-hash":"7d"},"container_name":"main"}}"#;
        let record = read(line).unwrap();
        assert_eq!(record.at, "2026-01-02T10:20:30.5Z".parse().unwrap());
        assert_eq!((&*record.service, &*record.namespace, &*record.pod), ("cart", "shop", "cart-1"));
        assert_eq!((record.level, &*record.message), (Level::Error, "2026-01-02 ERROR no stock\n"));
    }

    #[test]
    fn a_message_that_is_json_says_its_own_level_and_time() {
        let line = r#"{"log":"{\"ts\":1,\"time\":\"2026-01-02T10:20:30Z\",\"level\":\"warn\",\"msg\":\"slow ERROR\"}\n","kubernetes":{"container_name":"main"}}"#;
        let record = read(line).unwrap();
        assert_eq!((record.level, &*record.message, &*record.service), (Level::Warn, "slow ERROR", "main"));
        assert_eq!(record.at, "2026-01-02T10:20:30Z".parse().unwrap());
        let broken = read(r#"{"date":1,"log":"{not json}"}"#).unwrap();
        assert_eq!(&*broken.message, "{not json}");
    }

    #[test]
    fn what_is_missing_is_said() {
        assert_eq!(read("{"), Err(NoRecord::NotJson));
        assert_eq!(read(r#"{"log":"x"}"#), Err(NoRecord::NoTime));
        assert_eq!(read(r#"{"log":"x","date":"soon"}"#), Err(NoRecord::NoTime));
        let bare = read(r#"{"date":1767349230}"#).unwrap();
        assert_eq!((&*bare.service, &*bare.message, bare.level), ("unknown", "", Level::Unknown));
    }

    #[test]
    fn configured_keys_come_instead_of_the_usual_ones() {
        let options = LogsOptions {
            service_key: Some("app.id".to_owned()),
            level_key: Some("prio".to_owned()),
            message_key: Some("text".to_owned()),
            time_key: Some("when".to_owned()),
            ..LogsOptions::default()
        };
        let line = r#"{"date":1,"when":1767349230,"app":{"id":"cart"},"service":"no","prio":"err","level":"info","text":"a","log":"b"}"#;
        let record = RecordReader::new(&options).read(line).unwrap();
        assert_eq!((&*record.service, record.level, &*record.message), ("cart", Level::Error, "a"));
        assert_eq!(record.at, Timestamp::from_seconds(1_767_349_230));
    }

    #[test]
    fn a_long_name_is_cut_between_letters() {
        let line = format!(r#"{{"date":1,"service":"{}"}}"#, "é".repeat(100));
        assert_eq!(read(&line).unwrap().service.len(), 128);
    }

    proptest! {
        #[test]
        fn any_text_is_a_record_or_not(text in "\\PC{0,100}") {
            let _ = read(&text);
            let _ = read(&format!(r#"{{"date":1,"log":{}}}"#, serde_json::json!(text)));
        }
    }
}
