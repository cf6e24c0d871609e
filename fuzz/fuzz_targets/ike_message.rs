//! Any bytes as an unprotected message: no panic, and what decodes encodes again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = ike::wire::Message::decode(bytes) {
        let again = message.encode();
        assert!(ike::wire::Message::decode(&again).is_ok());
    }
});
