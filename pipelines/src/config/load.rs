//! Text to [`ConfigFile`]: strict, every mistake with file, line and key, and a suggestion where a key
//! was meant. Then the environment's variables, one by one, so that a wrong one is named.

use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize as _;

use super::ConfigError;
use super::file::{ConfigFile, FROM_ENVIRONMENT};

/// More than any configuration, little enough to read whole.
const FILE_CAP: u64 = 4 << 20;
const PREFIX: &str = "FOREWARN_";

pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let wrong = |e: &dyn std::fmt::Display| ConfigError::new(format!("cannot read {}: {e}", path.display()));
    match fs::metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(ConfigError::new(format!(
                "there is no configuration at {}; give one with --config, or try `forewarn demo`, which needs none",
                path.display()
            )));
        }
        Err(e) => return Err(wrong(&e)),
        Ok(meta) if meta.len() > FILE_CAP => {
            return Err(wrong(&format!("wanted at most {FILE_CAP} bytes, got {}", meta.len())));
        }
        Ok(_) => {}
    }
    fs::read_to_string(path).map_err(|e| wrong(&e))
}

pub(super) fn parse(path: &Path, text: &str, environment: &[(String, String)]) -> Result<ConfigFile, ConfigError> {
    let file: ConfigFile = toml::from_str(text).map_err(|e| explain(path, text, e.message(), e.span()))?;
    let mut table: toml::Table = toml::from_str(text).map_err(|e| explain(path, text, e.message(), e.span()))?;
    let mut overridden = None;
    for (section, key) in FROM_ENVIRONMENT {
        let variable = variable_name(section, key);
        if let Some((_, value)) = environment.iter().find(|(name, _)| *name == variable) {
            overridden = Some(apply(&mut table, section, key, &variable, value)?);
        }
    }
    Ok(overridden.unwrap_or(file))
}

/// Variables that look like ours and are not: to be warned of, not refused, because Kubernetes sets
/// `FOREWARN_PORT` and the like for a Service named `forewarn`.
pub(super) fn unknown_variables(environment: &[(String, String)]) -> Vec<String> {
    const OTHERS: [&str; 4] = ["FOREWARN_CONFIG", "FOREWARN_LOG", "FOREWARN_RUN", "FOREWARN_SHARDS"];
    let known: Vec<String> = FROM_ENVIRONMENT.iter().map(|(s, k)| variable_name(s, k)).collect();
    let names = environment.iter().map(|(name, _)| name.as_str());
    names
        .filter(|name| name.starts_with(PREFIX) && !OTHERS.contains(name) && known.iter().all(|k| k != name))
        .filter_map(|name| {
            let meant = closest(name, known.iter().map(String::as_str))?;
            Some(format!("{name} means nothing here, did you mean {meant}?"))
        })
        .collect()
}

fn variable_name(section: &str, key: &str) -> String {
    format!("{PREFIX}{}_{}", section.to_uppercase(), key.to_uppercase())
}

/// Sets one key as text, else as TOML (`5`, `["a"]`), else as a list by commas: what fits the field.
fn apply(
    table: &mut toml::Table,
    section: &str,
    key: &str,
    variable: &str,
    value: &str,
) -> Result<ConfigFile, ConfigError> {
    let as_toml = toml::from_str::<toml::Table>(&format!("v = {value}")).ok().and_then(|mut t| t.remove("v"));
    let as_list = value.split(',').map(|item| toml::Value::String(item.trim().to_owned())).collect();
    let attempts = [Some(toml::Value::String(value.to_owned())), as_toml, Some(toml::Value::Array(as_list))];
    let mut first_error = None;
    for attempt in attempts.into_iter().flatten() {
        let entry = table.entry(section.to_owned()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        if let toml::Value::Table(section) = entry {
            section.insert(key.to_owned(), attempt);
        }
        match ConfigFile::deserialize(toml::Value::Table(table.clone())) {
            Ok(file) => return Ok(file),
            Err(e) => first_error = first_error.or(Some(e.message().to_owned())),
        }
    }
    let reason = first_error.unwrap_or_default();
    Err(ConfigError::new(format!("{variable}: {}", one_line(&reason))))
}

/// One line: `file:line: what`, with the key that was probably meant.
fn explain(path: &Path, text: &str, message: &str, span: Option<Range<usize>>) -> ConfigError {
    let place = match span {
        Some(span) => format!("{}:{}", path.display(), line_of(text, span.start)),
        None => path.display().to_string(),
    };
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    if let (true, Some((unknown, known))) = (message.starts_with("unknown field"), quoted.split_first()) {
        let hint = match closest(unknown, known.iter().copied()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("known here: {}", known.join(", ")),
        };
        return ConfigError::new(format!("{place}: unknown key {unknown:?}, {hint}"));
    }
    if let (true, Some((unknown, known))) = (message.starts_with("unknown variant"), quoted.split_first()) {
        let hint = match closest(unknown, known.iter().copied()) {
            Some(meant) => format!("did you mean {meant:?}? (one of {})", known.join(", ")),
            None => format!("wanted one of {}", known.join(", ")),
        };
        return ConfigError::new(format!("{place}: unknown value {unknown:?}, {hint}"));
    }
    ConfigError::new(format!("{place}: {}", one_line(message)))
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

fn one_line(message: &str) -> String {
    message.split('\n').map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("; ")
}

/// The candidate that `name` is probably a slip of; `None` where nothing is near.
pub(super) fn closest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(&name.to_lowercase(), candidate), candidate))
        .filter(|(similarity, _)| *similarity >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The line on which `key` of the `index`-th `[section]` or `[[section]]` stands, for messages; the
/// section's own line where the key is not written.
pub(super) fn locate(text: &str, section: &str, index: usize, key: &str) -> Option<usize> {
    let headers = [format!("[{section}]"), format!("[[{section}]]")];
    let mut seen = 0;
    let mut header_line = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            if header_line.is_some() {
                break;
            }
            let header = line.split('#').next().unwrap_or("").trim();
            if headers.iter().any(|h| h == header) {
                if seen == index {
                    header_line = Some(number + 1);
                }
                seen += 1;
            }
        } else if header_line.is_some() && line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
        {
            return Some(number + 1);
        }
    }
    header_line
}
