//! A query API's JSON answer of any bytes, in each of its readings.
#![no_main]

use forewarn_datasets::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzzing::query_answer(bytes);
});
