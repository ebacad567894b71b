//! libFuzzer's way into `landfall_tests::fuzz::pump`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| landfall_tests::fuzz::pump::check(input));
