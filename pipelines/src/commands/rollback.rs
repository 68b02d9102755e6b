//! `forewarn rollback`: the model before serves again, or the rules.

use std::collections::BTreeMap;

use anyhow::bail;
use serde_json::json;

use super::{now, open};
use crate::cli::Services;
use crate::config::Config;
use crate::outcome::Outcome;

pub(super) async fn rollback(config: &Config, arguments: &Services) -> anyhow::Result<Outcome> {
    let registry = open::moving_registry(config).await?;
    let _lock = registry.lock()?;
    let named = !arguments.service.is_empty();
    let services = if named { arguments.service.clone() } else { registry.services().await? };
    let mut text = String::new();
    let mut done = BTreeMap::new();
    for service in services {
        let Some(before) = registry.current(&service).await? else {
            if named {
                bail!("service {service:?} has no current model to take back");
            }
            continue;
        };
        let after = registry.rollback(&service, now()).await?;
        let serving = after.map_or_else(|| "rules".to_owned(), |v| v.to_string());
        text.push_str(&format!("  {service}: {before} taken back, {serving} serves\n"));
        done.insert(service, json!({"taken_back": before, "serving": serving}));
    }
    if done.is_empty() {
        text.push_str("no service has a current model\n");
    }
    Ok(Outcome::new(text, json!({ "services": done })))
}
