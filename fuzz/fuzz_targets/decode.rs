//! Any bytes are a job within its limits, or a failure that explains itself and has a dead letter.

#![no_main]

libfuzzer_sys::fuzz_target!(|value: &[u8]| {
    mailroom::fuzzing::decode(value);
});
