#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = vitraux_fuzz::files::unigram(data);
});
