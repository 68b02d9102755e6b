//! `shadow.json`: which candidate of a service scores beside what serves it, since when and until when, and how its last period ended.

use bytes::Bytes;
use forewarn_schema::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ModelRegistry, RegistryError, pointer, service_path};
use crate::ModelVersion;
use crate::shadow::Comparison;

const FORMAT: u32 = 1;

/// A challenger, or the last one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// 1.
    pub format_version: u32,
    /// Whose it is.
    pub service: String,
    /// The challenger.
    pub version: ModelVersion,
    /// Since when.
    pub since: Timestamp,
    /// Until when at least: it is compared at the first step after.
    pub until: Timestamp,
    /// Why the gate let it.
    pub reason: String,
    /// How the period ended; `None`: it goes on.
    pub ended: Option<ShadowEnd>,
}

/// How a shadow period ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowEnd {
    /// When.
    pub at: Timestamp,
    /// Whether it took over.
    pub promoted: bool,
    /// Why, or why not.
    pub reason: String,
    /// Both sides' figures, where they were compared.
    pub comparison: Option<Comparison>,
}

impl Shadow {
    /// A challenger from `since` to `until`.
    pub fn new(service: &str, version: ModelVersion, (since, until): (Timestamp, Timestamp), reason: &str) -> Self {
        let (service, reason) = (service.to_owned(), reason.to_owned());
        Self { format_version: FORMAT, service, version, since, until, reason, ended: None }
    }

    /// Whether the period goes on.
    pub fn is_on(&self) -> bool {
        self.ended.is_none()
    }

    fn from_bytes(service: &str, bytes: &[u8]) -> Result<Self, String> {
        let read: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if read["format_version"] != FORMAT {
            return Err(format!("format_version must be {FORMAT}, got {}", read["format_version"]));
        }
        let shadow: Self = serde_json::from_value(read).map_err(|e| e.to_string())?;
        if shadow.service != service {
            return Err(format!("it must be about service {service:?}, got {:?}", shadow.service));
        }
        Ok(shadow)
    }
}

impl ModelRegistry {
    /// The challenger of a service or its last one; `None` where there never was any.
    pub async fn shadow(&self, service: &str) -> Result<Option<Shadow>, RegistryError> {
        let path = shadow_path(service)?;
        let bytes = self.store.get_versioned(&path, pointer::MAX_POINTER_BYTES).await?.0;
        let read = |bytes: Bytes| Shadow::from_bytes(service, &bytes);
        bytes.map(read).transpose().map_err(|reason| RegistryError::Pointer { path, reason })
    }

    /// Lets a candidate score beside what serves, after it has been read whole. One whose period goes on already is left as it is,
    /// another one's period ends.
    pub async fn start_shadow(&self, shadow: &Shadow) -> Result<(), RegistryError> {
        self.load(&shadow.service, &shadow.version).await?;
        self.move_shadow(&shadow.service, |known| match known {
            Some(known) if known.is_on() && known.version == shadow.version => None,
            _ => Some(shadow.clone()),
        })
        .await
    }

    /// Ends the period of `version`; where it is over, or another one's, nothing changes. Promoting it is the caller's, before this.
    pub async fn end_shadow(
        &self,
        service: &str,
        version: &ModelVersion,
        end: &ShadowEnd,
    ) -> Result<(), RegistryError> {
        self.move_shadow(service, |known| {
            let known = known.filter(|known| known.is_on() && known.version == *version)?;
            Some(Shadow { ended: Some(end.clone()), ..known })
        })
        .await
    }

    async fn move_shadow(
        &self,
        service: &str,
        change: impl Fn(Option<Shadow>) -> Option<Shadow>,
    ) -> Result<(), RegistryError> {
        self.replace_noted(&shadow_path(service)?, |bytes| {
            // What cannot be read is replaced, never followed.
            let known = bytes.and_then(|bytes| Shadow::from_bytes(service, &bytes).ok());
            let Some(shadow) = change(known) else { return Ok(None) };
            serde_json::to_vec_pretty(&shadow).map(|json| Some(json.into())).map_err(|e| e.to_string())
        })
        .await
    }
}

fn shadow_path(service: &str) -> Result<String, RegistryError> {
    Ok(format!("{}/shadow.json", service_path(service)?))
}
