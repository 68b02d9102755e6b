//! `forewarn state backup`: a copy of the state while servers use it.

use std::path::Path;

use anyhow::bail;
use serde_json::json;

use super::open;
use crate::cli::{State, StateBackup};
use crate::config::{Config, ConfigError, human_bytes};
use crate::outcome::Outcome;

pub(super) async fn state(config: &Config, command: &State) -> anyhow::Result<Outcome> {
    match command {
        State::Backup(arguments) => backup(config, arguments).await,
    }
}

async fn backup(config: &Config, arguments: &StateBackup) -> anyhow::Result<Outcome> {
    let Some(path) = config.state_url.expose().strip_prefix("sqlite://") else {
        let shown = &config.state_shown;
        let how = format!("pg_dump --format=custom --file={} {shown}", arguments.to.display());
        return Err(ConfigError::new(format!("the state is in PostgreSQL, which has its own tool: {how}")).into());
    };
    // Opening would make one.
    if !Path::new(path).exists() {
        bail!("there is no state at {path}; `forewarn serve` makes it");
    }
    let bytes = open::state(config).await?.backup_to(&arguments.to).await?;
    let to = arguments.to.display();
    Ok(Outcome::new(format!("{to}: {}", human_bytes(bytes)), json!({"to": arguments.to, "bytes": bytes})))
}
