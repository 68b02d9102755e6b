//! A Parquet day file of any bytes, whole and by its parts.
#![no_main]

use forewarn_datasets::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzzing::day_file(bytes);
});
