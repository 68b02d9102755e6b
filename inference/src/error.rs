//! What can go wrong: when the server starts ([`ServeError`]) and when it is asked something
//! ([`AppError`]). How the latter looks over HTTP is in `http::problem`.

use std::error::Error;
use std::net::SocketAddr;

use forewarn_features::SignalError;
use forewarn_models::registry::RegistryError;

use crate::delivery::OutOfReach;
use crate::door::DoorError;
use crate::state::StateError;

/// The server could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Listening beyond this machine was not allowed.
    #[error(
        "serve.listen {listen} can be reached from other machines and nobody is asked who they are; \
         listen on 127.0.0.1, say who may ask in [[serve.access]], or set serve.allow_unauthenticated_remote = true"
    )]
    RemoteNotAllowed {
        /// The address asked for.
        listen: SocketAddr,
    },
    /// The address could not be taken.
    #[error("cannot listen on {listen}")]
    Listen {
        /// The address asked for.
        listen: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A certificate, a key or `web.yml` cannot be used.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The webhook's URL cannot be used.
    #[error("requests.webhook must be an http or https URL, got scheme {scheme:?}")]
    Webhook {
        /// What it was.
        scheme: String,
    },
    /// An Alertmanager's URL cannot be used.
    #[error("requests.alertmanager must be http or https URLs, got scheme {scheme:?}")]
    Alertmanager {
        /// What it was.
        scheme: String,
    },
    /// The host of the webhook or of an Alertmanager is an address that may not be reached.
    #[error("requests.webhook or requests.alertmanager cannot be used")]
    OutOfReach(#[from] OutOfReach),
    /// Several servers sign with one secret.
    #[error(
        "requests.webhook_secret_file is needed where the state is in PostgreSQL: every server signs with the same secret"
    )]
    NoSharedSecret,
    /// The webhook's secret could not be made, kept or read.
    #[error("webhook secret {path} cannot be used")]
    Secret {
        /// Where it is.
        path: String,
        /// Why not.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The signals cannot be evaluated live.
    #[error(transparent)]
    Signals(#[from] SignalError),
    /// The state database.
    #[error(transparent)]
    State(#[from] StateError),
    /// Everything else that was asked of the parts at the start.
    #[error(transparent)]
    App(#[from] AppError),
    /// The HTTP client or server failed.
    #[error("http failed")]
    Http(#[source] Box<dyn Error + Send + Sync>),
}

impl ServeError {
    /// Another process serves from this state, or has the port.
    pub fn is_in_use(&self) -> bool {
        match self {
            Self::State(error) => error.is_in_use(),
            Self::Listen { source, .. } => source.kind() == std::io::ErrorKind::AddrInUse,
            _ => false,
        }
    }

    /// The state database's server does not answer; the same call may work later.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::State(error) if error.is_unreachable())
    }

    /// There is no room.
    pub fn is_storage_full(&self) -> bool {
        match self {
            Self::State(error) | Self::App(AppError::State(error)) => error.is_storage_full(),
            _ => false,
        }
    }
}

/// Something that was asked of the running server could not be done.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Nothing of that id.
    #[error("no {what} with id {id}")]
    NotFound {
        /// What was wanted.
        what: &'static str,
        /// The id.
        id: String,
    },
    /// It does not fit the state of things.
    #[error("{reason}")]
    Conflict {
        /// Why not.
        reason: String,
    },
    /// The request itself is wrong.
    #[error("{reason}")]
    Invalid {
        /// What was wanted, what was got.
        reason: String,
    },
    /// The state database.
    #[error(transparent)]
    State(#[from] StateError),
    /// The registry.
    #[error("model registry failed")]
    Registry(#[from] RegistryError),
    /// A part of the server failed: our mistake.
    #[error("the server failed")]
    Internal {
        /// How.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // Some libraries repeat their cause in their own text.
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
