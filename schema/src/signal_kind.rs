//! What a signal is about.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a breach is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreachKind {
    /// A container reaches its memory limit.
    Oom,
    /// A connection pool hands out its last connection.
    PoolExhaustion,
    /// The share of failed requests reaches its budget.
    ErrorRate,
    /// A filesystem has no bytes left.
    DiskFull,
    /// A TLS certificate ends.
    CertificateExpiry,
    /// A signal of the user's own.
    Custom,
}

impl BreachKind {
    /// Every kind, in the order in which they are shown.
    pub const ALL: [Self; 6] =
        [Self::Oom, Self::PoolExhaustion, Self::ErrorRate, Self::DiskFull, Self::CertificateExpiry, Self::Custom];

    /// As it is written in configuration and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oom => "oom",
            Self::PoolExhaustion => "pool_exhaustion",
            Self::ErrorRate => "error_rate",
            Self::DiskFull => "disk_full",
            Self::CertificateExpiry => "certificate_expiry",
            Self::Custom => "custom",
        }
    }
}

impl fmt::Display for BreachKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text named no kind of breach.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("unknown kind {0:?}, wanted oom, pool_exhaustion, error_rate, disk_full, certificate_expiry or custom")]
pub struct UnknownKind(String);

impl FromStr for BreachKind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|k| k.as_str() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// What a signal is for: something that may breach, or context that explains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignalKind {
    /// It has a limit and may reach it.
    Breach(BreachKind),
    /// Traffic, latency, deployments: what the others are judged against.
    Context,
}

impl SignalKind {
    /// The kind of breach, `None` for context.
    pub fn breach(self) -> Option<BreachKind> {
        match self {
            Self::Breach(kind) => Some(kind),
            Self::Context => None,
        }
    }
}

impl Serialize for SignalKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.breach().map_or("context", BreachKind::as_str))
    }
}

impl<'de> Deserialize<'de> for SignalKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "context" {
            return Ok(Self::Context);
        }
        text.parse().map(Self::Breach).map_err(|_| {
            serde::de::Error::unknown_variant(
                &text,
                &["oom", "pool_exhaustion", "error_rate", "disk_full", "certificate_expiry", "custom", "context"],
            )
        })
    }
}

/// On which side of its limit a signal is in breach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// At or above the limit (memory, connections, errors).
    #[default]
    Above,
    /// At or below the limit (bytes left, seconds left).
    Below,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_read_back() {
        for kind in BreachKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        assert_eq!(serde_json::from_str::<SignalKind>("\"context\"").unwrap(), SignalKind::Context);
        assert!(serde_json::from_str::<SignalKind>("\"ooom\"").is_err());
    }
}
