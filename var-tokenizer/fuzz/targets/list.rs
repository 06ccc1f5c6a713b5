#![no_main]
#[path = "../../tests/it/hostile/readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    readers::list(bytes);
});
