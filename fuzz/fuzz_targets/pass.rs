#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vitraux_fuzz::pass(data));
