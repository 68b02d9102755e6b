//! `[train.openlineage]`: whom the weekly job tells what it reads and writes.

use url::Url;

use super::ConfigError;
use super::file::LineageSection;
use super::resolve::{Place, http_url};
use crate::lineage::LineageOptions;

const SECTION: &str = "train.openlineage";
const DEFAULT_NAMESPACE: &str = "forewarn";

pub(super) fn lineage(place: &Place<'_>, section: &LineageSection) -> Result<LineageOptions, ConfigError> {
    let wrong = |key: &str, what: String| place.wrong(SECTION, 0, key, what);
    let url = match &section.url {
        None => None,
        Some(text) => {
            let text = place.expand(text).map_err(|e| wrong("url", e))?;
            http_url(&text).map_err(|e| wrong("url", e))?;
            Some(Url::parse(&text).map_err(|e| wrong("url", e.to_string()))?)
        }
    };
    let token = place.secret(SECTION, 0, "token", section.token.as_ref(), section.token_file.as_ref())?;
    if token.is_some() && url.is_none() {
        return Err(wrong("token", "is for a url".to_owned()));
    }
    let file = section.file.as_deref().map(|file| place.expand(file)).transpose().map_err(|e| wrong("file", e))?;
    let namespace = section.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    if namespace.is_empty() {
        return Err(wrong("namespace", "must not be empty".to_owned()));
    }
    Ok(LineageOptions { url, token, file: file.map(|file| place.relative(&file)), namespace })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    fn load(text: &str) -> Result<Config, String> {
        Config::from_text(Path::new("/etc/f.toml"), text, &[]).map_err(|e| e.to_string())
    }

    #[test]
    fn a_collector_and_a_file_are_read_and_mistakes_named() {
        let text =
            "[train.openlineage]\nurl = \"http://marquez:5000/api/v1/lineage\"\ntoken = \"t\"\nfile = \"l.jsonl\"\n";
        let lineage = load(text).unwrap().train.lineage;
        assert_eq!(lineage.url.unwrap().host_str(), Some("marquez"));
        assert_eq!(lineage.file.as_deref(), Some(Path::new("/etc/l.jsonl")));
        assert_eq!(lineage.namespace, "forewarn");
        let wrong = |text: &str| load(&format!("[train.openlineage]\n{text}\n")).unwrap_err();
        assert_eq!(
            wrong("url = \"marquez\""),
            "/etc/f.toml:2: [train.openlineage] url: wanted http://host:port, got \"marquez\": relative URL without a base"
        );
        assert_eq!(wrong("token = \"t\""), "/etc/f.toml:2: [train.openlineage] token: is for a url");
        assert!(wrong("uri = \"x\"").contains("unknown key"));
    }

    #[test]
    fn the_schedule_has_a_zone_and_its_own_spread() {
        let train = load("[train]\nschedule = \"daily 04:30 Europe/Berlin\"\njitter = \"0s\"\nin_server = true\n")
            .unwrap()
            .train;
        assert_eq!((train.schedule.to_string(), train.in_server), ("daily 04:30 Europe/Berlin".to_owned(), true));
        assert!(train.jitter.is_zero());
        assert_eq!(load("").unwrap().train.jitter.as_secs(), 600);
    }
}
