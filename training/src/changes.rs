//! What is different about a candidate, beside the model that it would replace: data, settings, parts.
//! How well it does is compared elsewhere.

use std::collections::BTreeMap;

use forewarn_models::ModelBundle;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::gate::words;

/// One thing that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What, in words; of settings their path.
    pub what: String,
    /// In the model that serves now; empty where it had none.
    pub before: String,
    /// In the candidate; empty where it has none.
    pub now: String,
}

/// Everything that differs, data first; empty for the same model.
pub fn changes(current: &ModelBundle, candidate: &ModelBundle) -> Vec<Change> {
    let (a, b) = (&current.manifest, &candidate.manifest);
    let lstm = |bundle: &ModelBundle| if bundle.lstm.is_some() { "fitted" } else { "none" }.to_owned();
    let facts = [
        ("version", a.version.to_string(), b.version.to_string()),
        ("learnt from", a.created_from.start.to_rfc3339(), b.created_from.start.to_rfc3339()),
        ("learnt until", a.created_from.end.to_rfc3339(), b.created_from.end.to_rfc3339()),
        ("forecast served", words(current.forecast).to_owned(), words(candidate.forecast).to_owned()),
        ("LSTM", lstm(current), lstm(candidate)),
        ("signals", short(&a.signals_digest), short(&b.signals_digest)),
        ("step", a.step.to_string(), b.step.to_string()),
        ("seed", a.seed.to_string(), b.seed.to_string()),
        ("fitted by Forewarn", a.forewarn_version.clone(), b.forewarn_version.clone()),
    ];
    let mut changes: Vec<Change> = facts
        .into_iter()
        .filter(|(_, before, now)| before != now)
        .map(|(what, before, now)| Change { what: what.to_owned(), before, now })
        .collect();
    let (mut before, mut now) = (BTreeMap::new(), BTreeMap::new());
    leaves(&a.params, "", &mut before);
    leaves(&b.params, "", &mut now);
    let mut paths: Vec<&String> = before.keys().chain(now.keys()).collect();
    paths.sort();
    paths.dedup();
    for path in paths {
        let of = |side: &BTreeMap<String, String>| side.get(path).cloned().unwrap_or_default();
        if before.get(path) != now.get(path) {
            changes.push(Change { what: format!("setting {path}"), before: of(&before), now: of(&now) });
        }
    }
    changes
}

/// A digest is for comparing, not for reading.
fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

fn leaves(value: &Value, path: &str, into: &mut BTreeMap<String, String>) {
    let under = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| leaves(value, &under(name), into)),
        Value::Null => {}
        Value::String(text) => {
            into.insert(path.to_owned(), text.clone());
        }
        other => {
            into.insert(path.to_owned(), other.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_compared_leaf_by_leaf() {
        let mut found = BTreeMap::new();
        leaves(&json!({"lstm": {"hidden": 32, "device": "flex"}, "trees": 100, "none": null}), "", &mut found);
        let found: Vec<(&str, &str)> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, [("lstm.device", "flex"), ("lstm.hidden", "32"), ("trees", "100")]);
    }
}
