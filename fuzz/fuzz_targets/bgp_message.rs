//! Any octets as a stream of BGP messages: no panic, and what is read and written again is the same.
#![no_main]

use bgpd::wire::{
    Framer, MessageKind, Notification, Open, UpdateContext, UpdateFrame, parse_route_refresh,
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
                let _ = parse_route_refresh(&message.body);
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
        };
        let Ok(read) = frame.attributes(context) else {
            continue;
        };
        if let Some(set) = read.set {
            let mut canonical = Vec::new();
            set.emit(true, &mut canonical);
            let again = bgpd::wire::PathAttributes::parse_canonical(&canonical);
            assert_eq!(again, Some(set));
        }
    }
}
