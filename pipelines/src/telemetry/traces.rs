//! Spans of the server as OTLP traces, where `[telemetry] otlp` says where to: what a request, a step and a delivery took, and what
//! they waited for. Sent in batches from a thread of the exporter's own: what cannot be sent is dropped, and serving never waits
//! for it.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{Layer, Registry, reload};

/// For a batch to arrive, and for the last one when the program ends.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where traces go.
#[derive(Clone, Debug)]
pub(crate) struct TraceOptions {
    /// An OTLP receiver over HTTP; without a path its `/v1/traces`.
    pub(crate) url: url::Url,
    /// Besides, such as `authorization`.
    pub(crate) headers: HashMap<String, String>,
    /// The share of traces that is kept, 0..=1.
    pub(crate) sample: f64,
    /// Which of several servers this is.
    pub(crate) instance: String,
}

/// Traces cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be sent: {0}")]
pub(crate) struct TraceError(String);

type Switch = reload::Handle<Option<OpenTelemetryLayer<Registry, SdkTracer>>, Registry>;

static WANTED: AtomicBool = AtomicBool::new(false);
static SWITCH: OnceLock<Switch> = OnceLock::new();

/// Sends what is left when it is dropped, within [`TIMEOUT`].
#[derive(Debug)]
pub(crate) struct Traces(SdkTracerProvider);

/// Takes nothing in until [`Traces::start`]. The filter lies outside of what is exchanged later: it is known to the registry from
/// the beginning.
pub(super) fn layer() -> impl Layer<Registry> {
    let (layer, switch) = reload::Layer::new(None);
    let _ = SWITCH.set(switch);
    let ours = |of: &Metadata<'_>| {
        WANTED.load(Ordering::Relaxed) && of.target().starts_with("forewarn") && *of.level() <= tracing::Level::DEBUG
    };
    layer.with_filter(filter_fn(ours).with_max_level_hint(LevelFilter::DEBUG))
}

impl Traces {
    /// From now on spans are sent.
    pub(crate) fn start(options: &TraceOptions) -> Result<Self, TraceError> {
        forewarn_storage::install_crypto_provider();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint(&options.url))
            .with_headers(options.headers.clone())
            .with_timeout(TIMEOUT)
            .build()
            .map_err(|e| TraceError(e.to_string()))?;
        let resource = Resource::builder_empty()
            .with_service_name("forewarn")
            .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(opentelemetry::KeyValue::new("service.instance.id", options.instance.clone()))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::TraceIdRatioBased(options.sample))
            .with_resource(resource)
            .build();
        let sending = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("forewarn"))
            .with_location(false)
            .with_threads(false)
            .with_target(false);
        WANTED.store(true, Ordering::Relaxed);
        let switch = SWITCH.get().ok_or_else(|| TraceError("another subscriber was installed".to_owned()))?;
        switch.reload(Some(sending)).map_err(|e| TraceError(e.to_string()))?;
        Ok(Self(provider))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        WANTED.store(false, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
        if let Err(error) = self.0.shutdown_with_timeout(TIMEOUT) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// What the specification says of a base URL (OTLP 1.x, "OTLP/HTTP Request"): its path and `/v1/traces`.
fn endpoint(url: &url::Url) -> String {
    let mut url = url.clone();
    if matches!(url.path(), "" | "/") {
        url.set_path("/v1/traces");
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use super::endpoint;

    #[test]
    fn a_base_url_gets_the_path_of_traces_and_a_whole_one_stays() {
        let of = |url: &str| endpoint(&url.parse().unwrap());
        assert_eq!(of("http://127.0.0.1:4318"), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(of("https://otlp.example/otlp/v1/traces"), "https://otlp.example/otlp/v1/traces");
    }
}
