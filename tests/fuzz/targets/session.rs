//! libFuzzer's way into `landfall_tests::fuzz::session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| landfall_tests::fuzz::session::check(input));
