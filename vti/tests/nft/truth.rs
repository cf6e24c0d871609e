//! The tracer against the kernel: random rules of somebody else, real datagrams, and no false claim.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::UdpSocket;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use vti::nft::{Firewall, Flow, Outcome, When};

use crate::packets::{FarSide, GATEWAY, PEER, listen, receive, site};
use crate::sandbox::{in_namespace, nft};

const MATCHES: [&str; 28] = [
    "",
    "iifname \"wan0\"",
    "iifname \"wan*\"",
    "iifname != \"wan0\"",
    "iifname { \"lan0\", \"wan0\" }",
    "iifname { \"w*\", \"lan0\" }",
    "iif \"wan0\"",
    "iif lo",
    "ip saddr 192.0.2.1",
    "ip saddr 192.0.2.0/28",
    "ip saddr 192.0.2.0/24",
    "ip saddr != 192.0.2.0/24",
    "ip saddr 192.0.1.255-192.0.2.0",
    "ip saddr { 10.0.0.0/8, 192.0.2.0-192.0.2.5 }",
    "ip daddr 192.0.2.7",
    "ip daddr != { 192.0.2.7, 192.0.2.9 }",
    "udp dport 500",
    "udp dport != 500",
    "udp dport { 500, 4500 }",
    "udp dport 400-600",
    "udp sport > 1024",
    "ip saddr . udp dport { 192.0.2.1 . 500, 192.0.2.2 . 4500 }",
    "ip saddr . udp dport { 192.0.2.0/24 . 4000-5000 }",
    "meta pkttype { host, broadcast }",
    "ip protocol udp",
    "ct state new",
    "fib daddr type local",
    "ip frag-off & 0x1fff != 0",
];

const ACTIONS: [&str; 13] = [
    "accept",
    "accept",
    "drop",
    "drop",
    "counter",
    "counter reject",
    "return",
    "jump a",
    "jump b",
    "goto a",
    "udp dport vmap { 500 : drop, 4500 : jump b }",
    "ct state vmap { established : drop, new : jump a }",
    "ip saddr vmap { 192.0.2.0/25 : jump b, 192.0.2.128/25 : drop }",
];

fn rule() -> impl Strategy<Value = (usize, usize, usize)> {
    (0..MATCHES.len(), 0..MATCHES.len(), 0..ACTIONS.len())
}

/// Three chains, of which `a` may call `b`, and a policy.
fn ruleset() -> impl Strategy<Value = String> {
    let rules = || prop::collection::vec(rule(), 0..4);
    (rules(), rules(), rules(), any::<bool>()).prop_map(|(b, a, input, drops)| {
        let policy = if drops { "drop" } else { "accept" };
        let base = format!(
            "type filter hook input priority filter; policy {policy};\nudp dport 9999 accept"
        );
        format!(
            "table inet host\ndelete table inet host\ntable inet host {{\n{}{}{}}}\n",
            chain("b", "", &b, 0),
            chain("a", "", &a, 1),
            chain("input", &base, &input, 2)
        )
    })
}

/// `level` keeps a chain from calling itself or a later one.
fn chain(name: &str, head: &str, rules: &[(usize, usize, usize)], level: usize) -> String {
    let mut text = format!("chain {name} {{\n{head}\n");
    for &(first, second, action) in rules {
        let action = match ACTIONS[action] {
            action if action.contains(" a") && !action.contains("accept") && level < 2 => "drop",
            action if action.contains(" b") && level < 1 => "accept",
            action => action,
        };
        text += &format!("{} {} {action}\n", MATCHES[first], MATCHES[second]);
    }
    text + "}\n"
}

fn arrived(socket: &UdpSocket) -> bool {
    match socket.recv(&mut [0; 64]) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            false
        }
    }
}

#[test]
fn what_is_said_to_pass_arrives_and_what_is_said_to_be_dropped_does_not() {
    in_namespace(|| {
        let far = FarSide::connect();
        let mut firewall = Firewall::open().unwrap();
        firewall.apply(&site()).unwrap();
        let firewall = RefCell::new(firewall);
        let sockets = [500, 4500].map(|port| {
            let socket = listen(port);
            socket.set_nonblocking(true).unwrap();
            (port, socket)
        });
        let sentinel = listen(9999);
        let tally = RefCell::new([0_u32; 3]);
        let config = Config {
            cases: 150,
            failure_persistence: None,
            ..Config::default()
        };
        let flows = Flow::from_peer(
            PEER.parse().unwrap(),
            Some("wan0"),
            Some(GATEWAY.parse().unwrap()),
        );
        let verdict = TestRunner::new(config).run(&ruleset(), |text| {
            nft(&text);
            let trace = firewall.borrow_mut().trace(&flows).unwrap();
            for (port, _) in &sockets {
                far.send(PEER, *port, 32);
            }
            // The wire keeps the order: when this one is here, the others are here or dropped.
            far.send(PEER, 9999, 32);
            receive(&sentinel);
            // Both queues are emptied before anything is judged, so that no case sees another's datagram.
            let arrivals = sockets.each_ref().map(|(_, socket)| arrived(socket));
            for (arrived, passage) in arrivals.into_iter().zip(&trace.passages[1..]) {
                let (claim, counted) = match passage.outcome {
                    // Nobody answers here, so every datagram begins a connection.
                    Outcome::Passes
                    | Outcome::Dropped {
                        when: When::OnceEstablished,
                        ..
                    } => (Some(true), 0),
                    Outcome::Dropped { .. } => (Some(false), 1),
                    Outcome::Rewritten { .. } | Outcome::Unclear { .. } => (None, 2),
                };
                tally.borrow_mut()[counted] += 1;
                let holds = claim.is_none_or(|claim| claim == arrived);
                prop_assert!(holds, "arrived: {arrived}, but {passage}\n{text}");
            }
            Ok(())
        });
        if let Err(failure) = verdict {
            panic!("{failure}");
        }
        let [passed, dropped, unclear] = tally.into_inner();
        assert!(
            passed > 20 && dropped > 20,
            "one-sided rules: {passed} {dropped}"
        );
        assert_eq!(unclear, 0, "all of these rules can be decided");
    });
}
