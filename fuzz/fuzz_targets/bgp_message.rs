//! Any octets as a stream of BGP messages: no panic, and what is read and written again is the same.
#![no_main]

use std::net::IpAddr;

use bgpd::wire::{
    Families, Framer, MessageKind, Notification, Open, PathAttributes, RouteRefresh, UpdateContext,
    UpdateFrame,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut framer = Framer::default();
    framer.push(bytes);
    while let Ok(Some(message)) = framer.message() {
        match message.kind {
            MessageKind::Open => {
                if let Ok(open) = Open::parse(&message.body) {
                    let again = open.emit();
                    assert_eq!(Open::parse(&again[19..]), Ok(open));
                }
            }
            MessageKind::Update => update(&message.body),
            MessageKind::Notification => {
                let _ = Notification::parse(&message.body).map(|it| it.to_string());
            }
            MessageKind::Keepalive => {}
            MessageKind::RouteRefresh => {
                let _ = RouteRefresh::parse(&message.body);
            }
        }
    }
});

fn update(body: &[u8]) {
    let Ok(frame) = UpdateFrame::parse(body) else {
        return;
    };
    for (four_octet_as, external) in [(true, true), (true, false), (false, true), (false, false)] {
        let context = UpdateContext {
            four_octet_as,
            external,
            families: Families::BOTH,
            extended_next_hop: external,
        };
        let Ok(read) = frame.attributes(context) else {
            continue;
        };
        // An IPv6 next hop is not among the attributes.
        for set in [read.set, read.multiprotocol].into_iter().flatten() {
            let mut canonical = Vec::new();
            let set = PathAttributes {
                next_hop: set.next_hop.filter(IpAddr::is_ipv4),
                ..set
            };
            set.emit(true, &mut canonical);
            let again = PathAttributes::parse_canonical(&canonical);
            assert_eq!(again, Some(set));
        }
    }
}
