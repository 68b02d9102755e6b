//! `forewarn models`: what the registry holds, per service, newest first.

use std::collections::BTreeMap;

use anyhow::bail;
use serde_json::json;

use super::open;
use crate::cli::Services;
use crate::config::Config;
use crate::outcome::Outcome;

pub(super) async fn models(config: &Config, arguments: &Services) -> anyhow::Result<Outcome> {
    let registry = open::registry(config).await?;
    let known = registry.services().await?;
    if let Some(unknown) = arguments.service.iter().find(|s| !known.contains(s)) {
        bail!("the registry has no service {unknown:?}, it has: {}", known.join(", "));
    }
    let mut text = String::new();
    let mut all = BTreeMap::new();
    for service in known {
        if !arguments.service.is_empty() && !arguments.service.contains(&service) {
            continue;
        }
        let current = registry.current(&service).await?;
        let versions = registry.versions(&service).await?;
        let serving = current.as_ref().map_or_else(|| "rules".to_owned(), ToString::to_string);
        text.push_str(&format!("{service}: {serving} serves\n"));
        for info in &versions {
            let state = serde_json::to_value(info.state)?;
            let data = match (&info.manifest, &info.problem) {
                (Some(manifest), _) => format!("data {}", manifest.created_from),
                (None, problem) => format!("refused: {}", problem.as_deref().unwrap_or("no manifest")),
            };
            text.push_str(&format!("  {} {:<12} {data}\n", info.version, state.as_str().unwrap_or("?")));
        }
        let shadow = registry.shadow(&service).await?;
        if let Some(shadow) = &shadow {
            let how = match &shadow.ended {
                None => format!("scores beside it until {}", shadow.until),
                Some(end) if end.promoted => format!("took over at {}: {}", end.at, end.reason),
                Some(end) => format!("was refused at {}: {}", end.at, end.reason),
            };
            text.push_str(&format!("  shadow: {} {how}\n", shadow.version));
        }
        all.insert(service, json!({"serving": serving, "versions": versions, "shadow": shadow}));
    }
    if all.is_empty() {
        text.push_str("the registry is empty; run `forewarn train`\n");
    }
    Ok(Outcome::new(text, json!({ "services": all })))
}
