//! Remote write 1.0 and 2.0: a compressed message in, series by the fingerprints of their labels out.
//!
//! A sender sends the same labels again with every sample. So they are not unfolded here: each series comes with a fingerprint of
//! their bytes, by which a receiver that has seen them before knows them, and [`Incoming::labels`] unfolds those that it has not.

mod histogram;
pub(crate) mod labels;
mod read;
mod symbols;
#[cfg(test)]
mod tests;

pub use self::read::{DecodeError, Incoming, IncomingSeries, Limits, Version, read};
