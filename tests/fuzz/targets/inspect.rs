//! libFuzzer's way into `landfall_tests::fuzz::inspect`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| landfall_tests::fuzz::inspect::check(input));
