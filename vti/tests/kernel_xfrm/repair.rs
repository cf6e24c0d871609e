//! What somebody else does to our SAs and policies.

use vti::plane::{DataPlane as _, Direction, PlaneEvent};

use crate::bed::{End, INNER, Kind, NUMBER, TUNNEL, Wish, joined};

fn bound(end: &End) -> String {
    match end.kind {
        Kind::Vti => format!("mark {NUMBER} mask 0xffffffff"),
        Kind::Xfrm => format!("if_id {NUMBER}"),
    }
}

fn lost(end: &End) -> (u32, Direction) {
    end.events.next(|event| match event {
        PlaneEvent::SaLost { spi, direction, .. } => Some((*spi, *direction)),
        _ => None,
    })
}

#[test]
fn a_deleted_sa_is_reported_and_never_put_back() {
    for kind in [Kind::Vti, Kind::Xfrm] {
        let mut ends = joined([kind, kind], &Wish::gcm());
        assert_eq!(ends[0].ping(INNER[1], "-c 2 -i 0.05"), 2);
        let mark = match kind {
            Kind::Vti => bound(&ends[0]),
            Kind::Xfrm => String::new(),
        };
        ends[0].namespace.ip(&format!(
            "xfrm state delete src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1001 {mark}"
        ));
        assert_eq!(lost(&ends[0]), (0x1001, Direction::Outbound));
        assert!(!ends[0].states().contains("0x00001001"));
        assert!(ends[0].policies().contains("dir out action block"));
        ends[0].namespace.ip(&format!(
            "xfrm state delete src 192.0.2.2 dst 192.0.2.1 proto esp spi 0x1000 {mark}"
        ));
        assert_eq!(lost(&ends[0]), (0x1000, Direction::Inbound));
        // What they carried is not forgotten.
        let counters = ends[0].plane.counters(TUNNEL).unwrap();
        assert_eq!((counters.packets_in, counters.packets_out), (2, 2));
        // The successors work.
        Wish::gcm().install(&mut ends, 0x3000);
        assert_eq!(ends[0].ping(INNER[1], "-c 2 -i 0.05"), 2);
    }
}

#[test]
fn flushed_sas_are_all_reported() {
    let ends = joined([Kind::Xfrm, Kind::Xfrm], &Wish::gcm());
    ends[0].namespace.ip("xfrm state flush");
    let mut both = [lost(&ends[0]), lost(&ends[0])];
    both.sort_by_key(|(spi, _)| *spi);
    assert_eq!(
        both,
        [(0x1000, Direction::Inbound), (0x1001, Direction::Outbound)]
    );
}

#[test]
fn policies_that_are_deleted_changed_or_flushed_are_put_back() {
    for kind in [Kind::Vti, Kind::Xfrm] {
        let ends = joined([kind, kind], &Wish::gcm());
        let right = ends[0].policies();
        let bound = bound(&ends[0]);
        for damage in [
            format!("xfrm policy delete src 0.0.0.0/0 dst 0.0.0.0/0 dir out {bound}"),
            format!("xfrm policy delete src 0.0.0.0/0 dst 0.0.0.0/0 dir in {bound}"),
            format!("xfrm policy update src 0.0.0.0/0 dst 0.0.0.0/0 dir out action block {bound}"),
            "xfrm policy flush".to_owned(),
        ] {
            ends[0].namespace.ip(&damage);
            ends[0]
                .events
                .next(|event| matches!(event, PlaneEvent::PolicyRestored { .. }).then_some(()));
            // All of a flush is repaired before any of it is told, but the others may still be on their way.
            let same = |text: &str| {
                let mut lines: Vec<_> = text.lines().map(str::trim).map(str::to_owned).collect();
                lines.sort();
                lines
            };
            assert_eq!(same(&ends[0].policies()), same(&right), "after {damage}");
            assert_eq!(ends[0].ping(INNER[1], "-c 2 -i 0.05"), 2, "after {damage}");
        }
    }
}

#[test]
fn what_belongs_to_others_is_never_touched() {
    let ends = joined([Kind::Xfrm, Kind::Xfrm], &Wish::gcm());
    let namespace = &ends[0].namespace;
    namespace.ip("xfrm policy add src 10.99.0.0/24 dst 10.98.0.0/24 dir out tmpl src 192.0.2.1 dst 192.0.2.9 proto esp reqid 7 mode tunnel");
    namespace.ip("xfrm policy add src 10.99.0.0/24 dst 10.98.0.0/24 dir out if_id 77 tmpl src 192.0.2.1 dst 192.0.2.9 proto esp reqid 7 mode tunnel");
    namespace.ip("xfrm state add src 192.0.2.1 dst 192.0.2.9 proto esp spi 0x9999 reqid 7 mode tunnel if_id 77 enc cbc(aes) 0x00112233445566778899aabbccddeeff auth hmac(sha1) 0x0011223344556677889900112233445566778899");
    let End {
        plane, namespace, ..
    } = ends.into_iter().next().unwrap();
    drop(plane);
    let policies = namespace.ip("xfrm policy");
    assert_eq!(policies.matches("10.99.0.0/24").count(), 2, "{policies}");
    assert!(!policies.contains("0xca05"), "{policies}");
    let states = namespace.ip("xfrm state");
    assert_eq!(states.matches("proto esp").count(), 1, "{states}");
    assert!(states.contains("0x00009999"), "{states}");
}
