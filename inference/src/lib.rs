//! The server: remote write in, scoring, requests out, feedback, the page.
//!
//! [`Server::bind`] puts the parts together; [`Server::run`] serves until it is told to stop. Samples
//! are held in memory (a restart starts warm only from what its caller replays); what was decided
//! (predictions, requests, labels) is in the state database before anything acts on it.
//!
//! # In a program of one's own
//!
//! [`router`] is the whole interface, page included, as a function from request to answer: nest it, put layers around it,
//! or call it in a test without a port. Time moves only when [`ServerHandle::tick`] says so.
//!
//! ```
//! use std::sync::Arc;
//!
//! use forewarn_features::SignalSet;
//! use forewarn_inference::{Server, ServerOptions, router};
//! use forewarn_models::{Engine, EngineOptions, ModelRegistry};
//! use tower::ServiceExt as _;
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # let folder = tempfile::tempdir()?;
//! # let store = folder.path().display();
//! # runtime.block_on(async {
//! let signals = Arc::new(SignalSet::new(&["kubernetes".to_owned()], vec![])?);
//! let engine = Engine::new(Arc::clone(&signals), EngineOptions::default());
//! let registry = ModelRegistry::open(&format!("file://{store}")).await?;
//! // State in memory; port 0 is any free one, and is not served before `run`.
//! let options = ServerOptions { listen: ([127, 0, 0, 1], 0).into(), ..ServerOptions::default() };
//! let server = Server::bind(options, signals, engine, registry).await?;
//!
//! let mine = axum::Router::new().nest("/forewarn", router(server.handle().app().clone()));
//! let ask = axum::http::Request::get("/forewarn/api/v1/predictions").body(axum::body::Body::empty())?;
//! let answer = mine.oneshot(ask).await?;
//! assert_eq!(answer.status(), 200);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot set up its case has failed"))]

mod access;
pub mod app;
mod autonomy;
mod checkpoint;
mod delivery;
mod door;
mod error;
mod expected;
mod footprint;
mod http;
mod labels;
mod last_run;
mod leader;
mod learning;
mod links;
mod maintenance;
mod metrics;
mod models;
mod options;
mod outbox;
mod outcomes;
pub mod page;
mod post;
mod pull;
mod rates;
mod receive;
mod recent;
mod safety;
mod scoring;
mod server;
mod shadow;
mod state;
mod unique_id;
mod verdict;

pub use access::{Credential, CredentialError, CredentialKind, Role, as_caller};
pub use app::{AppState, ReloadReport, ServiceModel, Status};
pub use autonomy::{Autonomy, AutonomyOptions, Climb, Ladder};
pub use checkpoint::{Checkpoint, CheckpointError, CheckpointOptions};
pub use delivery::{
    AlertmanagerStatus, OutOfReach, Reach, SignatureError, WebhookSecret, WebhookSecretError, sign_webhook,
    verify_webhook,
};
pub use door::{ClientAuth, DoorError, DoorOptions, TlsFiles, TlsVersion, WebConfig};
pub use error::{AppError, ServeError};
pub use footprint::Footprint;
pub use http::router;
pub use labels::{LabelFilter, LabelText, MOST_LABELS, NewFeedback, WrittenLabel, WrittenLabelError, read_labels};
pub use learning::{RecalibrationView, ThresholdView, ThresholdsView};
pub use maintenance::{MaintenanceWindow, NotWeekly, Weekly, When};
pub use metrics::{MetricInfo, metrics_list};
pub use options::{AlertMapping, Alertmanagers, Clock, FeedbackOptions, ServerOptions, Webhook, system_clock};
pub use outbox::Outbox;
pub use outcomes::{Announcement, Cases, Labels, ListedSettlement, Miss, Outcomes, Rolling, Scope, WINDOWS, Window};
pub use post::post_json;
pub use pull::{FedSeries, FeedError, SampleFeed};
pub use rates::RateOptions;
pub use safety::{Modes, NewSilence, Safety, SafetyOptions};
pub use server::{Server, ServerHandle};
pub use state::{
    AuditEntry, Decision, LadderMove, MessageState, OutboxMessage, Outcome, ServerLock, Silence, StateError,
    StateStore, Stop, StoredMode, StoredRequest, ThresholdMove, Verification, Worsened,
};
