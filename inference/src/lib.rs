//! The server: remote write in, scoring, requests out, feedback, the page.
//!
//! [`Server::bind`] puts the parts together; [`Server::run`] serves until it is told to stop. Samples
//! are held in memory (a restart starts warm only from what its caller replays); what was decided
//! (predictions, requests, labels) is in the state database before anything acts on it.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot set up its case has failed"))]

mod access;
pub mod app;
mod checkpoint;
mod delivery;
mod door;
mod error;
mod footprint;
mod http;
mod maintenance;
mod metrics;
mod models;
mod options;
mod outbox;
pub mod page;
mod pull;
mod rates;
mod receive;
mod safety;
mod scoring;
mod server;
mod state;
mod unique_id;

pub use access::{Credential, CredentialError, CredentialKind, Role};
pub use app::{AppState, NewFeedback, ReloadReport, ServiceModel, Status};
pub use checkpoint::{Checkpoint, CheckpointError, CheckpointOptions};
pub use delivery::{
    AlertmanagerStatus, OutOfReach, Reach, SignatureError, WebhookSecret, WebhookSecretError, sign_webhook,
    verify_webhook,
};
pub use door::{ClientAuth, DoorError, DoorOptions, TlsFiles, TlsVersion, WebConfig};
pub use error::{AppError, ServeError};
pub use footprint::Footprint;
pub use http::router;
pub use maintenance::{MaintenanceWindow, NotWeekly, Weekly, When};
pub use options::{Alertmanagers, Clock, ServerOptions, Webhook, system_clock};
pub use outbox::Outbox;
pub use pull::{FedSeries, FeedError, SampleFeed};
pub use rates::RateOptions;
pub use safety::{Modes, NewSilence, Safety, SafetyOptions};
pub use server::{Server, ServerHandle};
pub use state::{
    AuditEntry, Decision, MessageState, OutboxMessage, Outcome, ServerLock, Silence, StateError, StateStore, Stop,
    StoredMode, StoredRequest,
};
