//! Logs to standard error: warnings and the server's start and stop by default, `FOREWARN_LOG` for more;
//! JSON lines where standard error is not a terminal would surprise people, so only on request
//! (`FOREWARN_LOG_FORMAT=json`). Where traces go is in [`traces`].

mod traces;

use std::io::IsTerminal as _;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

pub(crate) use self::traces::{TraceOptions, Traces};

/// Of a long-running server; what ends by itself says what matters at its end.
const SERVING: &str = "warn,forewarn=info,forewarn_inference=info";
const OTHERWISE: &str = "warn";

pub(crate) fn init(serving: bool) {
    let default = if serving { SERVING } else { OTHERWISE };
    let wanted = std::env::var("FOREWARN_LOG").ok().filter(|f| !f.is_empty());
    let filter = EnvFilter::try_new(wanted.as_deref().unwrap_or(default));
    let (filter, mistake) = match filter {
        Ok(filter) => (filter, None),
        Err(e) => (EnvFilter::new(default), Some(e)),
    };
    let logs = fmt::layer().with_writer(crate::progress::writer).with_target(false);
    let logs = if std::env::var("FOREWARN_LOG_FORMAT").is_ok_and(|f| f == "json") {
        logs.json().with_filter(filter).boxed()
    } else {
        logs.with_ansi(std::io::stderr().is_terminal()).with_filter(filter).boxed()
    };
    // A second subscriber can only come from a test, which keeps its own.
    let _ = tracing_subscriber::registry().with(traces::layer()).with(logs).try_init();
    if let Some(mistake) = mistake {
        tracing::warn!(error = %mistake, default, "FOREWARN_LOG is not a filter, the default is used");
    }
}
