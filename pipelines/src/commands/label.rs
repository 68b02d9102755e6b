//! `forewarn label`: what a prediction turned out to be, said from the shell. It goes into the same log
//! as the labels of the page and the API, also while a server is running.

use std::path::Path;

use anyhow::bail;
use forewarn_inference::NewFeedback;
use forewarn_schema::{FeedbackSubject, LabelSource};

use super::{now, open};
use crate::cli::Label;
use crate::config::Config;
use crate::outcome::Outcome;

pub(super) async fn label(config: &Config, arguments: &Label) -> anyhow::Result<Outcome> {
    // A label of a state that nobody ever served from can only be a wrong path.
    if let Some(path) = config.state_url.expose().strip_prefix("sqlite://")
        && !Path::new(path).exists()
    {
        bail!("there is no state at {path}; `forewarn serve` makes it");
    }
    let state = open::state(config).await?;
    let new = NewFeedback {
        subject: FeedbackSubject::Prediction { prediction_id: arguments.prediction_id.clone() },
        verdict: arguments.verdict,
        note: arguments.note.clone(),
        source: LabelSource::Shell,
    };
    let stored = state.add_feedback(&new, now()).await?;
    let text = format!("{} is labelled {} ({})", arguments.prediction_id, stored.verdict, stored.id);
    Ok(Outcome::new(text, serde_json::to_value(&stored)?))
}
