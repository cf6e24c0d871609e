//! A peer that knows nothing of collisions, as Libreswan does not for CREATE_CHILD_SA: it grants
//! every request, keeps every child, sends on the newest, and deletes none of its own accord. And one
//! that deletes the wrong one.

use std::time::Duration;

use ike::Command;
use ike::wire::{Exchange, NotifyType, Payload, Protocol};

use super::peer::{ID, Peer, child_payloads, delete_child, notify};

const SPI: u32 = 0x1000;

/// The peer's view: its SPIs, each with ours, in the order in which they were made.
struct Lingering {
    peer: Peer,
    pairs: Vec<(u32, u32)>,
    next: u32,
}

/// Our SPI in a message.
fn spi_of(payloads: &[Payload]) -> Option<u32> {
    payloads.iter().find_map(|payload| match payload {
        Payload::Sa(proposals) => {
            let spi = proposals.first()?.spi.as_slice();
            spi.try_into().ok().map(u32::from_be_bytes)
        }
        _ => None,
    })
}

impl Lingering {
    fn new() -> Self {
        let mut peer = Peer::up(SPI);
        peer.ask(Exchange::Informational, &[]);
        let ours = peer.inbound[0];
        Self {
            peer,
            pairs: vec![(SPI, ours)],
            next: 0x2000,
        }
    }

    fn spi(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// Rekeys its newest child.
    fn rekey_request(&mut self) -> (u32, Vec<u8>) {
        let old = self.pairs.last().expect("a child").0;
        let (spi, nonce) = (self.spi(), self.peer.nonce());
        let payloads = child_payloads(spi, nonce, Some(old));
        (spi, self.peer.request(Exchange::CreateChildSa, &payloads))
    }

    /// Takes our answer to that.
    fn take_answer(&mut self, spi: u32) {
        let answers = std::mem::take(&mut self.peer.inbox);
        for bytes in answers {
            let (header, payloads) = self.peer.open(&bytes);
            match spi_of(&payloads) {
                Some(ours) if header.flags.response => self.pairs.push((spi, ours)),
                _ if header.flags.response => {}
                _ => self.peer.inbox.push(bytes),
            }
        }
    }

    /// Answers everything that we ask.
    fn serve(&mut self) {
        while let Some((header, payloads)) = self.peer.take_request() {
            match header.exchange {
                Exchange::CreateChildSa => {
                    let (spi, nonce) = (self.spi(), self.peer.nonce());
                    self.pairs.extend(spi_of(&payloads).map(|ours| (spi, ours)));
                    self.peer.answer(header, &child_payloads(spi, nonce, None));
                }
                _ => {
                    let mut gone = Vec::new();
                    for payload in &payloads {
                        if let Payload::Delete(d) = payload
                            && d.protocol == Protocol::Esp
                        {
                            let of = |ours: u32| self.pairs.iter().find(|pair| pair.1 == ours);
                            gone.extend(d.spis.iter().filter_map(|spi| of(*spi)).copied());
                        }
                    }
                    self.pairs.retain(|pair| !gone.contains(pair));
                    let deletes: Vec<_> = gone.iter().map(|pair| delete_child(pair.0)).collect();
                    self.peer.answer(header, &deletes);
                }
            }
        }
    }

    /// What the peer sends on can be read here, and what we send on can be read there.
    #[track_caller]
    fn assert_traffic(&self) {
        let (_, newest) = self.pairs.last().expect("a child");
        assert!(
            self.peer.inbound.contains(newest),
            "{newest:08x} of {:08x?}",
            self.peer.inbound
        );
        let out = self.peer.outbound.expect("something to send on");
        assert!(
            self.pairs.iter().any(|pair| pair.0 == out),
            "{out:08x} of {:08x?}",
            self.pairs
        );
    }

    /// Lets time pass, with traffic looked at all the while.
    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.peer.wait(Duration::from_secs(1));
            self.serve();
            self.assert_traffic();
        }
    }
}

#[test]
fn a_peer_that_keeps_every_child_of_a_collision_still_has_traffic_and_at_last_one_child() {
    for our_answer_first in [true, false] {
        let mut l = Lingering::new();
        l.peer.command(Command::RekeyChild(ID));
        let (spi, request) = l.rekey_request();
        if our_answer_first {
            l.serve();
            l.assert_traffic();
            l.peer.send(&request);
            l.take_answer(spi);
        } else {
            l.peer.send(&request);
            l.take_answer(spi);
            l.assert_traffic();
            l.serve();
        }
        l.assert_traffic();
        l.run(400);
        assert_eq!(l.peer.children(), 1, "{our_answer_first}");
        assert_eq!(l.pairs.len(), 1, "{our_answer_first}");
    }
}

/// Libreswan sends on the child that was made last, and on none when that is deleted, whichever nonces were the lower ones.
#[test]
fn a_peer_that_sends_on_the_last_child_of_a_collision_is_left_that_one() {
    for round in 0..8 {
        let our_answer_first = round % 2 == 0;
        let mut l = Lingering::new();
        l.peer.command(Command::RekeyChild(ID));
        let (spi, request) = l.rekey_request();
        let send_on_the_newest = |l: &mut Lingering| {
            let ours = l.pairs.last().expect("a child").1;
            l.peer.command(Command::InboundTraffic { spi: ours });
        };
        if our_answer_first {
            l.serve();
            send_on_the_newest(&mut l);
            l.peer.send(&request);
            l.take_answer(spi);
        } else {
            l.peer.send(&request);
            l.take_answer(spi);
            send_on_the_newest(&mut l);
            l.serve();
        }
        send_on_the_newest(&mut l);
        let newest = *l.pairs.last().expect("a child");
        l.run(60);
        assert_eq!(l.pairs, [newest], "{our_answer_first}");
        assert_eq!(l.peer.children(), 1, "{our_answer_first}");
        assert_eq!(l.peer.outbound, Some(newest.0), "{our_answer_first}");
    }
}

#[test]
fn a_peer_that_rekeys_and_never_deletes_still_has_traffic_and_at_last_one_child() {
    let mut l = Lingering::new();
    for _ in 0..5 {
        let (spi, request) = l.rekey_request();
        l.peer.send(&request);
        l.take_answer(spi);
        l.assert_traffic();
        // The peer uses the new child at once.
        let ours = l.pairs.last().expect("a child").1;
        l.peer.command(Command::InboundTraffic { spi: ours });
        assert_eq!(l.peer.outbound, Some(spi));
        l.run(30);
    }
    assert!(l.peer.children() <= 6, "{}", l.peer.children());
    l.run(400);
    assert_eq!((l.peer.children(), l.pairs.len()), (1, 1));
}

#[test]
fn a_peer_that_deletes_the_old_child_before_it_answers_our_rekeying_ends_with_one_child() {
    let mut l = Lingering::new();
    l.peer.command(Command::RekeyChild(ID));
    let (header, payloads) = l.peer.take_request().expect("our request");
    // It has made the new child, and deletes the old one instead of leaving that to us.
    l.peer.ask(Exchange::Informational, &[delete_child(SPI)]);
    l.pairs.clear();
    let (spi, nonce) = (l.spi(), l.peer.nonce());
    l.pairs.extend(spi_of(&payloads).map(|ours| (spi, ours)));
    l.peer.answer(header, &child_payloads(spi, nonce, None));
    l.assert_traffic();
    l.run(100);
    assert_eq!((l.peer.children(), l.pairs.len()), (1, 1));
}

#[test]
fn a_peer_that_loses_a_collision_and_deletes_the_old_child_all_the_same_ends_with_one_child() {
    let mut l = Lingering::new();
    l.peer.command(Command::RekeyChild(ID));
    let (spi, request) = l.rekey_request();
    l.peer.send(&request);
    l.take_answer(spi);
    l.serve();
    l.peer.ask(Exchange::Informational, &[delete_child(SPI)]);
    l.pairs.retain(|pair| pair.0 != SPI);
    l.run(400);
    assert_eq!((l.peer.children(), l.pairs.len()), (1, 1));
}

/// Libreswan, when it has lost its children together with an IKE SA that crossed another one.
#[test]
fn a_peer_that_has_lost_its_child_without_a_word_and_makes_another_one_is_met_on_that() {
    // Which of the nonces is the lower one decides nothing here.
    for _ in 0..4 {
        let mut l = Lingering::new();
        l.run(60);
        let (old, ours) = l.pairs[0];
        let (spi, nonce) = (l.spi(), l.peer.nonce());
        let payloads = child_payloads(spi, nonce, None);
        let request = l.peer.request(Exchange::CreateChildSa, &payloads);
        l.peer.send(&request);
        l.take_answer(spi);
        l.pairs.retain(|pair| pair.0 != old);
        let made = l.pairs[0].1;
        assert_ne!(made, ours);
        l.peer.command(Command::InboundTraffic { spi: made });
        l.run(30);
        assert_eq!((l.peer.children(), l.pairs.len()), (1, 1));
        assert_eq!(l.peer.outbound, Some(spi));
    }
}

/// Libreswan does the refused rekeying twice, keeps the first child, sends on it, and tells of the second one's failure.
#[test]
fn after_a_crossed_rekeying_that_the_peer_refuses_for_no_reason_one_more_child_is_made() {
    let mut l = Lingering::new();
    l.peer.command(Command::RekeyChild(ID));
    let (header, _) = l.peer.take_request().expect("our request");
    let (spi, request) = l.rekey_request();
    l.peer.send(&request);
    l.take_answer(spi);
    let refusal = notify(NotifyType::TS_UNACCEPTABLE);
    l.peer.answer(header, &[refusal]);
    l.run(30);
    // A repeated request counts as one more here.
    assert!(!l.pairs.is_empty());
    for pair in &l.pairs {
        assert!(
            pair.0 > spi,
            "a child after that of the crossing: {pair:08x?}"
        );
        assert!(l.peer.inbound.contains(&pair.1), "{pair:08x?}");
    }
    assert_eq!(l.peer.children(), 1);
}
