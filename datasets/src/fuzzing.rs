//! What a fuzzer feeds with bytes from nowhere, and what a benchmark of a decoder calls. Not part of the interface.
//!
//! The Parquet library may panic on a file that was made to be wrong; callers catch that, and so does this. A panic of
//! our own code comes through.

use std::cell::RefCell;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};

use bytes::Bytes;
use forewarn_schema::{LabelMatcher, METRIC_NAME, MatchOp, TimeRange, Timestamp};

pub use crate::logs::fuzzing::{LineCounter, count_lines, decode_state};
use crate::manifest::DatasetManifest;
use crate::parquet_file;
pub use crate::prometheus::fuzzing::{query_answer, remote_read};
use crate::samples::{SampleFilter, SampleReader};

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

/// Reads a file of raw samples, whole and by a selector; a series that is read is in order.
pub fn sample_file(bytes: &[u8]) {
    let equal = |name: &str, value: &str| LabelMatcher { name: name.into(), op: MatchOp::Equal, value: value.into() };
    let some = SampleFilter::new(&[vec![equal(METRIC_NAME, "requests_total")]]).ok();
    let always = TimeRange { start: Timestamp::from_millis(i64::MIN), end: Timestamp::from_millis(i64::MAX) };
    let an_hour =
        TimeRange { start: Timestamp::from_seconds(1_728_000_000), end: Timestamp::from_seconds(1_728_003_600) };
    for (filter, range) in [(None, always), (some, an_hour)] {
        guarded(|| {
            let Ok(mut file) = tempfile::tempfile() else { return };
            if file.write_all(bytes).is_err() {
                return;
            }
            let Ok(reader) = SampleReader::open(file, filter, range) else { return };
            // A footer may promise rows without end that take no bytes.
            for piece in reader.take(10_000).map_while(Result::ok) {
                let times: Vec<Timestamp> = piece.samples.iter().map(|s| s.at).collect();
                assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "times must go up");
                assert!(times.iter().all(|at| range.contains(*at)), "only what was asked for");
            }
        });
    }
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
