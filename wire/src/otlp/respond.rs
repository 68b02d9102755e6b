//! What is answered: `ExportMetricsServiceResponse` where a message was read, `google.rpc.Status` where it was not.

use crate::fields::{put_string, put_varint};

/// The answer to a message that was read: empty where all was taken, else how many points were not, and why.
pub fn response(refused: usize, why: &str) -> Vec<u8> {
    let mut partial = Vec::new();
    if refused > 0 {
        partial.push(1 << 3);
        put_varint(&mut partial, refused);
        put_string(&mut partial, 2, why.as_bytes());
    }
    let mut response = Vec::new();
    if !partial.is_empty() {
        put_string(&mut response, 1, &partial);
    }
    response
}

/// The answer to one that was not: a code of gRPC, and why.
pub fn error_status(code: u8, why: &str) -> Vec<u8> {
    let mut status = Vec::new();
    status.push(1 << 3);
    put_varint(&mut status, usize::from(code));
    put_string(&mut status, 2, why.as_bytes());
    status
}
