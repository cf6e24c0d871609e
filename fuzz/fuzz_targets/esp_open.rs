//! ESP packets of any content: `esp::InboundSa::open` and what the data plane does with the result.

#![no_main]

mod esp_open_input;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    esp_open_input::open(input);
});
