//! Any job makes an e-mail that is fit for the wire, for every relay, or a failure that says why not.
#![no_main]

libfuzzer_sys::fuzz_target!(|value: &[u8]| mailroom::fuzzing::compose(value));
