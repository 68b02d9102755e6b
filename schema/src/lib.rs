//! The nouns that cross a door, on disk or on the wire.
//!
//! Every other crate of Forewarn speaks in these types. No I/O, no async, no threads; time and
//! randomness come in as arguments. Serialised forms are contracts: see `docs/formats/`.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that fails to set up should panic"))]

mod feedback;
mod forecast;
mod histogram;
mod ident;
mod label;
mod matcher;
mod prediction;
mod probability;
mod request;
mod run;
mod sample;
mod settlement;
mod sighting;
mod signal_kind;
mod speaking;
mod time;

pub use feedback::{Feedback, FeedbackSubject, Judge, Judged, LabelSource, Verdict};
pub use forecast::{BandPoint, FanPoint};
pub use histogram::{BucketSpan, Buckets, CUSTOM_BOUNDS_SCHEMA, HistogramSample, NativeHistogram, ResetHint};
pub use ident::stable_id;
pub use label::{LabelSet, METRIC_NAME};
pub use matcher::{LabelMatcher, MatchOp};
pub use prediction::{Explanation, Prediction, SignalEvidence, TimeToBreach, TimeToBreachError};
pub use probability::{AnomalyScore, OutOfUnitRange, Probability};
pub use request::{Mode, PredictedBreach, RemediationRequest, RequestStatus};
pub use run::{RunRecord, RunStep, RunStepOutcome};
pub use sample::{STALE_NAN_BITS, Sample, Series, is_stale};
pub use settlement::{Became, Happening, Settlement};
pub use sighting::Sighting;
pub use signal_kind::{BreachKind, Direction, SignalKind, UnknownKind};
pub use speaking::{Announcement, loudest, speaking};
pub use time::{Step, TimeError, TimeRange, Timestamp, format_duration, parse_duration};
