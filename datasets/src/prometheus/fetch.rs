//! What is asked of a server: values at steps, or the samples themselves, and in which of two ways. And how coarse they
//! may be.

use std::fmt;

use serde::Deserialize;

/// The configuration's `fetch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fetch {
    /// The best that the server can: remote read, else samples, else steps.
    Auto,
    /// Raw samples by range selectors in instant queries. No staleness markers, no native histograms.
    Samples,
    /// Raw samples by remote read, staleness markers and native histograms included.
    RemoteRead,
    /// What the expressions give at every step, by `query_range`: the least traffic, and every server has it.
    #[default]
    Steps,
}

impl Fetch {
    /// As it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Samples => "samples",
            Self::RemoteRead => "remote_read",
            Self::Steps => "steps",
        }
    }
}

impl fmt::Display for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far apart the samples of a source may be: those of Thanos are thinned out as they grow old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum SourceResolution {
    /// As they were scraped.
    #[default]
    #[serde(rename = "raw")]
    Raw,
    /// One a window of 5 minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// One a window of an hour.
    #[serde(rename = "1h")]
    OneHour,
}

impl SourceResolution {
    /// This one and all that are finer, finest first.
    pub(super) fn ladder(self) -> impl Iterator<Item = Self> {
        [Self::Raw, Self::FiveMinutes, Self::OneHour].into_iter().filter(move |r| *r <= self)
    }

    /// As Thanos' `max_source_resolution` wants it.
    pub(super) fn parameter(self) -> &'static str {
        match self {
            Self::Raw => "0s",
            Self::FiveMinutes => "5m",
            Self::OneHour => "1h",
        }
    }

    /// Milliseconds between samples; 0 for raw ones.
    pub fn millis(self) -> i64 {
        match self {
            Self::Raw => 0,
            Self::FiveMinutes => 300_000,
            Self::OneHour => 3_600_000,
        }
    }
}
