//! Any bytes are a job, or a failure that says why not.
#![no_main]

libfuzzer_sys::fuzz_target!(|value: &[u8]| mailroom::fuzzing::decode(value));
