//! The door's files change while the server runs: certificates are renewed, passwords are changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::app::AppState;
use crate::error::chain;
use crate::scoring::blocking;

const EVERY: Duration = Duration::from_secs(2);

/// Looks at the door's files, so that a renewed certificate needs no restart.
pub(crate) async fn watch(app: AppState) {
    let mut interval = tokio::time::interval(EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        interval.tick().await;
        let door = Arc::clone(&app.0.door);
        let looked = blocking(move || door.look_again()).await;
        match looked {
            Ok(Ok(false)) => failing = false,
            Ok(Ok(true)) => {
                failing = false;
                app.0.metrics.door_reloaded("changed");
                tracing::info!("certificates and users read again");
            }
            Ok(Err(error)) => {
                // Half a file is written, or a wrong one: once a failure, not once a look.
                if !failing {
                    app.0.metrics.door_reloaded("refused");
                    tracing::error!(error = chain(&error), "certificates and users stay as they were");
                }
                failing = true;
            }
            Err(error) => tracing::error!(error = chain(&error), "certificates and users not looked at"),
        }
    }
}
