//! A script of what happens to two IKE endpoints, the inside of their protected messages included: what they say is checked after each
//! step, and one working child has to be left. `ike/examples/fuzz_stateful.rs` does the same without a fuzzer.
#![no_main]
#![allow(unreachable_pub)]

#[path = "../../ike/tests/stateful/bytes.rs"]
mod bytes;
#[path = "../../ike/tests/stateful/change.rs"]
mod change;
#[path = "../../ike/tests/stateful/pair.rs"]
mod pair;
#[path = "../../ike/tests/stateful/script.rs"]
mod script;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| {
    if let Err(why) = script::run(script, false) {
        panic!("{why}");
    }
});
