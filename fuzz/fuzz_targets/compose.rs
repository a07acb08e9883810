//! Any job makes an e-mail that is fit for the wire and reads as the job says, or a failure that explains itself.

#![no_main]

libfuzzer_sys::fuzz_target!(|value: &[u8]| {
    mailroom::fuzzing::compose(value);
});
