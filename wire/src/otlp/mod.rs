//! OTLP metrics in, Prometheus' samples out: `ExportMetricsServiceRequest` (OpenTelemetry protocol 1.x) read under caps, and named as
//! the specification of OpenTelemetry's compatibility with Prometheus says, so that a signal reads the same series whichever way
//! they come.
//!
//! Every sum and histogram must be cumulative: a difference says nothing by itself, and who would add them up must have seen all.
//! Exemplars, minima and maxima, and names of scopes are not read.

mod attributes;
mod names;
mod points;
mod read;
mod respond;
#[cfg(test)]
mod tests;

pub use self::read::{Encoding, Incoming, Limits, OtlpError, Point, read};
pub use self::respond::{error_status, response};
