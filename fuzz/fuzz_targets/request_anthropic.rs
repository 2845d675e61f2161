#![no_main]

#[path = "../../tests/translate_properties/laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|input: &[u8]| laws::request_anthropic(input));
libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    iron_runtime_fuzz::mutate(data, size, max_size, seed)
});
