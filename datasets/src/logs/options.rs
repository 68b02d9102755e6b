//! How a source of logs is read. The defaults suit Fluent Bit in Kubernetes.

use std::time::Duration;

/// See each field. A key is a path such as `kubernetes.labels.app`, found nested or dotted.
#[derive(Clone, Debug, PartialEq)]
pub struct LogsOptions {
    /// The source's name: letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// `s3://bucket/prefix` or `file:///folder`. Every object below it is read, whatever its key looks like.
    pub url: String,
    /// The field that names the service. By default the first that is there of `kubernetes.labels.app`,
    /// `kubernetes.labels.app.kubernetes.io/name`, `kubernetes.container_name`, `service`, `app`; a line without one is
    /// of the service `unknown`.
    pub service_key: Option<String>,
    /// The field that holds the level. By default `level`, `severity`, `lvl`, `log.level`; where the field is missing or
    /// says nothing known, the message is looked at.
    pub level_key: Option<String>,
    /// The field that holds the message. By default `log`, `message`, `msg`.
    pub message_key: Option<String>,
    /// The field that holds the time. By default `date`, `time`, `@timestamp`, `timestamp`; a line without a time is
    /// skipped and counted.
    pub time_key: Option<String>,
    /// How long after an object the same record in another object is known to be the same: by when the objects were
    /// written. Zero: every line counts. Default 2 hours.
    pub dedup_window: Duration,
    /// Records that are remembered for that at most; the oldest objects' are forgotten first. 8 bytes each in the store,
    /// about 30 in memory. Default 4 million.
    pub dedup_records: usize,
    /// A longer line is skipped and counted, in bytes. Default 1 MiB.
    pub max_line: usize,
    /// Text of one object past this is not read, in bytes. Default 8 GiB.
    pub max_text: u64,
    /// Nor text past this many times the object's size, from 16 MiB on. Default 400: logs shrink by 10 to 50.
    pub max_ratio: u64,
    /// Compressed bytes after which what was read so far is written down. Default 1 GiB.
    pub commit_bytes: u64,
}

impl Default for LogsOptions {
    fn default() -> Self {
        Self {
            name: "logs".to_owned(),
            url: String::new(),
            service_key: None,
            level_key: None,
            message_key: None,
            time_key: None,
            dedup_window: Duration::from_secs(2 * 3600),
            dedup_records: 4_000_000,
            max_line: 1 << 20,
            max_text: 8 << 30,
            max_ratio: 400,
            commit_bytes: 1 << 30,
        }
    }
}

impl LogsOptions {
    /// The candidates for time, message, level and service, the best first.
    pub(crate) fn paths(&self) -> [Vec<String>; 4] {
        let or = |key: &Option<String>, defaults: &[&str]| match key {
            Some(key) => vec![key.clone()],
            None => defaults.iter().map(|d| (*d).to_owned()).collect(),
        };
        [
            or(&self.time_key, &["date", "time", "@timestamp", "timestamp"]),
            or(&self.message_key, &["log", "message", "msg"]),
            or(&self.level_key, &["level", "severity", "lvl", "log.level"]),
            or(
                &self.service_key,
                &[
                    "kubernetes.labels.app",
                    "kubernetes.labels.app.kubernetes.io/name",
                    "kubernetes.container_name",
                    "service",
                    "app",
                ],
            ),
        ]
    }

    /// What decides how a line is counted; counts under other rules cannot be added up.
    pub(crate) fn rules(&self) -> Vec<String> {
        let key = |name: &str, key: &Option<String>| format!("{name}={}", key.as_deref().unwrap_or("(default)"));
        vec![
            key("service_key", &self.service_key),
            key("level_key", &self.level_key),
            key("message_key", &self.message_key),
            key("time_key", &self.time_key),
        ]
    }

    /// What is wrong with them, in one line.
    pub(crate) fn check(&self) -> Result<(), String> {
        let keys = [&self.service_key, &self.level_key, &self.message_key, &self.time_key];
        for key in keys.into_iter().flatten() {
            if key.is_empty() || key.len() > 200 {
                return Err(format!("a key must have 1 to 200 bytes, got {key:?}"));
            }
        }
        if self.max_line == 0 || self.max_text == 0 || self.max_ratio == 0 {
            return Err("max_line, max_text and max_ratio must be more than 0".to_owned());
        }
        Ok(())
    }
}
