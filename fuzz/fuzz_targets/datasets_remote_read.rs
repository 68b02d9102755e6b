//! A remote-read answer of any bytes, in frames and in one message.
#![no_main]

use forewarn_datasets::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzzing::remote_read(bytes);
});
