//! The server: remote write in, scoring, requests out, feedback, the page.
//!
//! [`Server::bind`] puts the parts together; [`Server::run`] serves until it is told to stop. Samples
//! are held in memory (a restart starts warm only from what its caller replays); what was decided
//! (predictions, requests, labels) is in the state database before anything acts on it.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot set up its case has failed"))]

mod access;
pub mod app;
mod delivery;
mod error;
mod http;
mod leader;
mod metrics;
mod models;
mod options;
pub mod page;
mod receive;
mod scoring;
mod server;
mod state;
mod unique_id;

pub use access::{Credential, CredentialError, CredentialKind, Role};
pub use app::{AppState, NewFeedback, ReloadReport, ServiceModel, Status};
pub use delivery::{
    OutOfReach, Reach, SignatureError, WebhookSecret, WebhookSecretError, sign_webhook, verify_webhook,
};
pub use error::{AppError, ServeError};
pub use http::router;
pub use options::{Clock, ServerOptions, Webhook, system_clock};
pub use server::{Server, ServerHandle};
pub use state::{Decision, Outcome, ServerLock, StateError, StateStore, StoredRequest};
