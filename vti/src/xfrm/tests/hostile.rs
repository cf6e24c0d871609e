//! Bytes that nobody should send never make a panic, and never more than they say.

use proptest::prelude::*;

use super::super::abi::msg;
use super::super::notice::Notice;
use super::*;

const KINDS: [u16; 14] = [
    msg::NEWSA,
    msg::UPDSA,
    msg::DELSA,
    msg::FLUSHSA,
    msg::EXPIRE,
    msg::NEWPOLICY,
    msg::UPDPOLICY,
    msg::DELPOLICY,
    msg::FLUSHPOLICY,
    msg::POLEXPIRE,
    msg::ACQUIRE,
    msg::MAPPING,
    msg::NEWAE,
    msg::MIGRATE,
];

#[test]
fn a_message_cut_anywhere_is_read_or_refused() {
    let suite = suites()[0];
    let (keymat, mac_key) = (key(suite.keymat_len()), key(suite.integrity_key_len()));
    let state = inbound(suite, &keymat, &mac_key).add();
    let policy = policy(Hook::Out, Binding::Mark(1)).put();
    for message in [state.body(), policy.body()] {
        for end in 0..=message.len() {
            for kind in KINDS {
                let _ = Notice::read(&answer(kind, &message[..end]));
            }
        }
    }
    for end in 0..224 {
        let cut = answer(msg::NEWSA, &state.body()[..end]);
        assert_eq!(Notice::read(&cut), None, "a state of {end} bytes");
    }
}

#[test]
fn a_bitmap_longer_than_the_kernels_largest_is_cut() {
    let mut value = vec![0xff; 24 + 4096];
    value[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
    let (_, replay) = state::read_replay(&value).unwrap();
    assert_eq!(replay.bitmap.len(), 128);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(kind in 0u16..0x40, bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        let _ = Notice::read(&answer(kind, &bytes));
    }

    #[test]
    fn a_state_with_any_octet_changed_is_read_or_refused(at in 0usize..700, octet: u8) {
        let suite = suites()[0];
        let (keymat, mac_key) = (key(suite.keymat_len()), key(suite.integrity_key_len()));
        let message = inbound(suite, &keymat, &mac_key).add();
        let mut bytes = message.body().to_vec();
        if let Some(place) = bytes.get_mut(at) {
            *place = octet;
        }
        for kind in KINDS {
            let _ = Notice::read(&answer(kind, &bytes));
        }
    }
}
