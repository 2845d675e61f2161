#![no_main]

#[path = "../../tests/translate_properties/laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|input: &[u8]| laws::stream_anthropic(input));
