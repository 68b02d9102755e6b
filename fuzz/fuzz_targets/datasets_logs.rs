//! Log objects of any bytes, plain or compressed, and the files that their counts are kept in.
#![no_main]

use forewarn_datasets::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = fuzzing::count_lines(bytes);
    let _ = fuzzing::decode_state(bytes);
});
