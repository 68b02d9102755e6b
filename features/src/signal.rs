//! Signals: what is watched, in PromQL, with the limit it may reach.
//!
//! Presets cover what most Kubernetes shops export; a `[[signal]]` of the configuration adds to
//! them. Not here: evaluating the expressions (`promql`), or judging the values (the models).

use forewarn_schema::{Direction, SignalKind};
use serde::{Deserialize, Serialize};

/// One thing that is watched: an expression, and for a breach kind its limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// Unique among the signals; `[a-z][a-z0-9_]*`.
    pub name: String,
    /// What it is about.
    pub kind: SignalKind,
    /// The label of the result that names the workload.
    #[serde(default = "default_service_label")]
    pub service: String,
    /// PromQL for the value.
    pub value: String,
    /// The limit in the value's unit: a number or PromQL. `None` only for context signals.
    #[serde(default)]
    pub limit: Option<SignalLimit>,
    /// On which side of the limit it is in breach.
    #[serde(default)]
    pub direction: Direction,
    /// What to do about it, by name.
    #[serde(default)]
    pub playbook: Option<String>,
}

fn default_service_label() -> String {
    "service".to_owned()
}

/// A limit: fixed, or PromQL whose result is matched to the value's by label set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SignalLimit {
    /// In the value's unit.
    Number(f64),
    /// PromQL.
    Expression(String),
}

/// Which of a signal's two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The value.
    Value,
    /// The limit.
    Limit,
}

/// One expression to evaluate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalQuery {
    /// The signal's name.
    pub signal: String,
    /// Value or limit.
    pub role: Role,
    /// PromQL.
    pub promql: String,
}

/// The signals of one configuration, sorted by name, names unique.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignalSet(Vec<Signal>);

/// A signal or a preset cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SignalError {
    /// The preset does not exist.
    #[error("unknown preset {got:?}, wanted one of {}", crate::presets::ALL.join(", "))]
    UnknownPreset {
        /// What was asked for.
        got: String,
    },
    /// Two signals of one name.
    #[error("signal names must be unique, got {0:?} twice")]
    Duplicate(String),
    /// A name that is not `[a-z][a-z0-9_]*`.
    #[error("a signal name must be lower-case letters, digits and underscores, got {0:?}")]
    Name(String),
    /// A breach kind without a limit.
    #[error("signal {0:?} may breach, so it needs a limit (a number or PromQL)")]
    NoLimit(String),
    /// An expression that does not parse or is outside the subset.
    #[error("signal {signal:?}, {role:?}: {reason}")]
    Expression {
        /// The signal's name.
        signal: String,
        /// Which of its expressions.
        role: Role,
        /// What is wrong, and where.
        reason: String,
    },
}

impl SignalSet {
    /// Those of the presets named and the custom ones. A custom signal replaces a preset's signal of
    /// the same name. Every expression is parsed and checked against the subset.
    pub fn new(presets: &[String], custom: Vec<Signal>) -> Result<Self, SignalError> {
        let mut signals = Vec::new();
        for preset in presets {
            let of_preset =
                crate::presets::preset(preset).ok_or_else(|| SignalError::UnknownPreset { got: preset.clone() })?;
            signals.extend(of_preset.into_iter().filter(|s| custom.iter().all(|c| c.name != s.name)));
        }
        signals.extend(custom);
        signals.sort_by(|a, b| a.name.cmp(&b.name));
        for pair in signals.windows(2) {
            if pair[0].name == pair[1].name {
                return Err(SignalError::Duplicate(pair[0].name.clone()));
            }
        }
        for signal in &signals {
            check(signal)?;
        }
        Ok(Self(signals))
    }

    /// Sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Signal> {
        self.0.iter()
    }

    /// The signal of that name.
    pub fn get(&self, name: &str) -> Option<&Signal> {
        self.0.binary_search_by(|s| s.name.as_str().cmp(name)).ok().map(|i| &self.0[i])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every expression to evaluate, values before limits, sorted by signal.
    pub fn queries(&self) -> Vec<SignalQuery> {
        self.0.iter().flat_map(Signal::queries).collect()
    }
}

impl Signal {
    /// Its expressions: the value, and the limit where that is PromQL.
    pub fn queries(&self) -> Vec<SignalQuery> {
        let query = |role, promql: &String| SignalQuery { signal: self.name.clone(), role, promql: promql.clone() };
        let mut queries = vec![query(Role::Value, &self.value)];
        if let Some(SignalLimit::Expression(limit)) = &self.limit {
            queries.push(query(Role::Limit, limit));
        }
        queries
    }
}

fn check(signal: &Signal) -> Result<(), SignalError> {
    let mut letters = signal.name.chars();
    let well_named = letters.next().is_some_and(|c| c.is_ascii_lowercase())
        && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !well_named {
        return Err(SignalError::Name(signal.name.clone()));
    }
    if signal.kind.breach().is_some() && signal.limit.is_none() {
        return Err(SignalError::NoLimit(signal.name.clone()));
    }
    for query in signal.queries() {
        crate::promql::Expression::parse(&query.promql).map_err(|e| SignalError::Expression {
            signal: signal.name.clone(),
            role: query.role,
            reason: e.to_string(),
        })?;
    }
    Ok(())
}
