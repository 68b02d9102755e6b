//! `[telemetry]`: where traces go.

use url::Url;

use super::file::ConfigFile;
use super::resolve::{Place, http_url};
use super::units::Secret;
use super::{ConfigError, Telemetry};

const SECTION: &str = "telemetry";

/// `None` without a receiver.
pub(super) fn telemetry(place: &Place<'_>, file: &ConfigFile) -> Result<Option<Telemetry>, ConfigError> {
    let section = &file.telemetry;
    if !(0.0..=1.0).contains(&section.sample) {
        return Err(place.wrong(SECTION, 0, "sample", format!("wanted a share of 0 to 1, got {}", section.sample)));
    }
    let headers = section.headers.iter().map(|(name, value)| {
        let value = place.expand(value).map_err(|e| place.wrong(SECTION, 0, "headers", e))?;
        Ok((name.clone(), Secret::new(value)))
    });
    let headers: Vec<(String, Secret)> = headers.collect::<Result<_, ConfigError>>()?;
    let Some(text) = &section.otlp else {
        return if headers.is_empty() { Ok(None) } else { Err(place.wrong(SECTION, 0, "headers", "needs otlp")) };
    };
    let text = place.expand(text).map_err(|e| place.wrong(SECTION, 0, "otlp", e))?;
    http_url(&text).map_err(|e| place.wrong(SECTION, 0, "otlp", e))?;
    let url = Url::parse(&text).map_err(|e| place.wrong(SECTION, 0, "otlp", e))?;
    Ok(Some(Telemetry { url, headers, sample: section.sample }))
}
