//! Prometheus remote write 1.0: a compressed message in, samples kept or refused, an account of both
//! out. Not here: HTTP (`http::write`) and what becomes of the samples (`scoring`).

mod decode;
mod message;
mod receive;

pub(crate) use self::decode::{DecodeError, Limits};
pub(crate) use self::receive::{Account, receive};
