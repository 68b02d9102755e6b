//! The manifest of a dataset, of any bytes.
#![no_main]

use forewarn_datasets::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzzing::manifest(bytes);
});
