//! `[requests]` beside the webhook: Alertmanagers, how much at once and how fast, maintenance.

use forewarn_features::Calendar;
use forewarn_inference::{MaintenanceWindow, Reach, SafetyOptions, When};
use forewarn_schema::TimeRange;
use url::Url;

use super::ConfigError;
use super::file::{ConfigFile, MaintenanceSection};
use super::resolve::{Place, http_url};

const SECTION: &str = "requests";
const WINDOW: &str = "requests.maintenance";

/// Which Alertmanagers are told; each once.
pub(super) fn alertmanagers(place: &Place<'_>, file: &ConfigFile, reach: &Reach) -> Result<Vec<Url>, ConfigError> {
    let mut urls: Vec<Url> = Vec::new();
    for text in &file.requests.alertmanager {
        let wrong = |what: String| place.wrong(SECTION, 0, "alertmanager", what);
        let text = place.expand(text).map_err(wrong)?;
        http_url(&text).map_err(wrong)?;
        let url = Url::parse(&text).map_err(|e| wrong(e.to_string()))?;
        reach.check_host(url.host()).map_err(|e| wrong(e.to_string()))?;
        if url.path().trim_end_matches('/').ends_with("/api/v2/alerts") {
            return Err(wrong(format!("wanted the URL without /api/v2/alerts, got {text:?}")));
        }
        if urls.contains(&url) {
            return Err(wrong(format!("{text:?} is there twice")));
        }
        urls.push(url);
    }
    Ok(urls)
}

/// What holds requests back.
pub(super) fn safety(place: &Place<'_>, file: &ConfigFile, calendar: &Calendar) -> Result<SafetyOptions, ConfigError> {
    let section = &file.requests;
    for (key, most) in [("max_per_hour", section.max_per_hour), ("max_workloads", section.max_workloads)] {
        if most == 0 {
            let what = "must be at least 1; to have none made, stop requests (POST /api/v1/requests/stop)";
            return Err(place.wrong(SECTION, 0, key, what));
        }
    }
    let windows = section.maintenance.iter().enumerate().map(|(i, window)| maintenance(place, i, window));
    Ok(SafetyOptions {
        max_per_hour: Some(section.max_per_hour),
        max_workloads: Some(section.max_workloads),
        maintenance: windows.collect::<Result<_, _>>()?,
        calendar: calendar.clone(),
    })
}

fn maintenance(
    place: &Place<'_>,
    index: usize,
    section: &MaintenanceSection,
) -> Result<MaintenanceWindow, ConfigError> {
    let wrong = |key: &str, what: String| place.wrong(WINDOW, index, key, what);
    let when = match (&section.weekly, section.from, section.to) {
        (Some(weekly), None, None) => When::Weekly(weekly.parse().map_err(|e| wrong("weekly", format!("{e}")))?),
        (None, Some(from), Some(to)) if from < to => When::Once(TimeRange { start: from, end: to }),
        (None, Some(from), Some(to)) => return Err(wrong("to", format!("must be later than from ({from}), got {to}"))),
        (Some(_), ..) => return Err(wrong("weekly", "give weekly, or from and to, not both".to_owned())),
        (None, ..) => return Err(wrong("from", "give from and to, or weekly".to_owned())),
    };
    if section.service.as_deref() == Some("") {
        return Err(wrong("service", "must not be empty; leave it out for every service".to_owned()));
    }
    Ok(MaintenanceWindow { service: section.service.clone(), when })
}
