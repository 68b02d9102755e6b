//! Remote write 1.0: a compressed message in, wanted series out, and an account of the rest.

mod decode;
mod message;

pub use self::decode::{DecodeError, Decoded, Limits, decode};
