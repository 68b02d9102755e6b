//! Label sets: sorted names and values, as Prometheus names series.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The label that carries a metric's name.
pub const METRIC_NAME: &str = "__name__";

/// Sorted label names and values. An empty value means the label is absent, as in Prometheus, so it
/// is never stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LabelSet(BTreeMap<String, String>);

impl LabelSet {
    /// No labels.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of `name`, or `None` where the label is absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets `name`; an empty value removes it.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        if value.is_empty() {
            self.0.remove(&name);
        } else {
            self.0.insert(name, value);
        }
    }

    /// Takes `name` out, and returns what it was.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same labels without `names`.
    pub fn without(&self, names: &[&str]) -> Self {
        Self(self.0.iter().filter(|(k, _)| !names.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    /// Those of `names` that are present.
    pub fn only(&self, names: &[&str]) -> Self {
        Self(self.0.iter().filter(|(k, _)| names.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect())
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for LabelSet {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut set = Self::new();
        for (name, value) in pairs {
            set.insert(name, value);
        }
        set
    }
}

impl<K: Into<String>, V: Into<String>, const N: usize> From<[(K, V); N]> for LabelSet {
    fn from(pairs: [(K, V); N]) -> Self {
        pairs.into_iter().collect()
    }
}

/// As PromQL writes it: `up{job="api"}`; `{}` when empty.
impl fmt::Display for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.get(METRIC_NAME).unwrap_or("");
        write!(f, "{name}")?;
        let mut rest = self.iter().filter(|(k, _)| *k != METRIC_NAME).peekable();
        if rest.peek().is_none() && !name.is_empty() {
            return Ok(());
        }
        write!(f, "{{")?;
        for (i, (k, v)) in rest.enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{k}={v:?}")?;
        }
        write!(f, "}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_promql() {
        let labels = LabelSet::from([("job", "api"), (METRIC_NAME, "up"), ("pod", "a\"b")]);
        assert_eq!(labels.to_string(), r#"up{job="api",pod="a\"b"}"#);
        assert_eq!(LabelSet::new().to_string(), "{}");
        assert_eq!(LabelSet::from([(METRIC_NAME, "up")]).to_string(), "up");
    }

    #[test]
    fn an_empty_value_is_no_label() {
        assert!(LabelSet::from([("job", "")]).is_empty());
    }
}
