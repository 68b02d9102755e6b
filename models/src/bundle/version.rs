//! The name of a model version: until when it has seen data, and what it is.

use std::fmt;
use std::str::FromStr;

use forewarn_schema::Timestamp;
use serde::{Deserialize, Serialize};

use super::BundleError;

/// `20260108T000000Z-1a2b3c4d`: the end of the training data (UTC, whole seconds) and the first eight hexadecimal digits of
/// the bundle's content digest. Sorts by that time; the same content has the same version on every machine.
///
/// A bundle that has not been sealed yet has the version `unsealed`, which is never stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelVersion(String);

const UNSEALED: &str = "unsealed";
const TIME_LENGTH: usize = "20260108T000000Z".len();

impl ModelVersion {
    /// That of a bundle whose content is not final.
    pub fn unsealed() -> Self {
        Self(UNSEALED.to_owned())
    }

    /// Whether the content is final.
    pub fn is_sealed(&self) -> bool {
        self.0 != UNSEALED
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// From the end of the data and a digest of at least eight hexadecimal digits. Refuses a time outside the years 0 to 9999.
    pub(super) fn of_content(until: Timestamp, digest: &str) -> Result<Self, BundleError> {
        let readable = until.to_rfc3339();
        let whole_seconds = readable.split(['.', 'Z']).next().unwrap_or_default();
        let time: String = whole_seconds.chars().filter(|c| !matches!(c, '-' | ':')).collect();
        let short: String = digest.chars().take(8).collect();
        format!("{time}Z-{short}").parse()
    }
}

fn is_well_formed(text: &str) -> bool {
    let Some((time, digest)) = text.split_once('-') else { return false };
    let time_fits = time.len() == TIME_LENGTH
        && time.bytes().enumerate().all(|(i, byte)| match i {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    time_fits && digest.len() == 8 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl FromStr for ModelVersion {
    type Err = BundleError;
    fn from_str(text: &str) -> Result<Self, BundleError> {
        if is_well_formed(text) { Ok(Self(text.to_owned())) } else { Err(BundleError::Version(text.to_owned())) }
    }
}

impl TryFrom<String> for ModelVersion {
    type Error = BundleError;
    fn try_from(text: String) -> Result<Self, BundleError> {
        text.parse()
    }
}

impl From<ModelVersion> for String {
    fn from(version: ModelVersion) -> Self {
        version.0
    }
}

impl fmt::Display for ModelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_the_end_of_the_data_and_eight_digits() {
        let until = Timestamp::from_millis(1_767_830_400_250);
        let version = ModelVersion::of_content(until, "1a2b3c4d5e6f").unwrap();
        assert_eq!(version.as_str(), "20260108T000000Z-1a2b3c4d");
        assert!(version < ModelVersion::of_content(Timestamp::from_seconds(1_767_916_800), "00000000").unwrap());
    }

    #[test]
    fn what_could_leave_the_folder_is_no_version() {
        for text in ["", "..", "../x", "20260108T000000Z-1A2B3C4D", "20260108T000000Z-1a2b3c4d/..", "unsealed"] {
            assert!(text.parse::<ModelVersion>().is_err(), "{text:?} must be refused");
        }
        assert!(ModelVersion::of_content(Timestamp::from_millis(i64::MAX), "1a2b3c4d").is_err());
    }
}
