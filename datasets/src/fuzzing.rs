//! What a fuzzer feeds with bytes from nowhere, and what a benchmark of a decoder calls. Not part of the interface.
//!
//! The Parquet library may panic on a file that was made to be wrong; callers catch that, and so does this. A panic of
//! our own code comes through.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};

use bytes::Bytes;

pub use crate::logs::fuzzing::{LineCounter, count_lines, decode_state};
use crate::manifest::DatasetManifest;
use crate::parquet_file;
pub use crate::prometheus::fuzzing::{query_answer, remote_read};

/// Decodes a manifest; what could be read is as it is written, and can be asked anything.
pub fn manifest(bytes: &[u8]) {
    let Ok(manifest) = DatasetManifest::from_bytes(bytes) else { return };
    let _ = (manifest.rows(), manifest.bytes(), manifest.range(), manifest.digest());
    let again = DatasetManifest::from_bytes(&manifest.to_bytes());
    assert!(again.is_ok_and(|again| again == manifest), "a manifest must read back");
}

/// Decodes a day file, whole and by its parts.
pub fn day_file(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    guarded(|| {
        let _ = parquet_file::decode(bytes.clone());
    });
    guarded(|| {
        // As if the whole file were its footer: then every part lies outside, and is refused.
        let Ok(file) = parquet_file::parts(bytes.clone(), bytes.len() as u64) else { return };
        let read = file.parts.iter().map(|part| (part.clone(), Bytes::new())).collect();
        let _ = parquet_file::decode_parts(&file, read, &|_| true);
    });
}

thread_local! {
    static PANICKED_IN: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `work` and goes on after a panic of a library.
fn guarded(work: impl FnOnce()) {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|info| {
        let file = info.location().map_or_else(String::new, |at| at.file().to_owned());
        PANICKED_IN.with(|cell| *cell.borrow_mut() = Some(file));
    }));
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(hook);
    let file = PANICKED_IN.with(RefCell::take).unwrap_or_default();
    if let Err(cause) = outcome
        && !["/parquet-", "/arrow-", "/bytes-", "/rustc/"].iter().any(|library| file.contains(library))
    {
        panic::resume_unwind(cause);
    }
}
