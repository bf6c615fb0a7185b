#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vitraux_fuzz::run("config", data));
