//! The codec against an independent one, and against bytes that nobody should send.

mod hostile;
mod oracle;

use std::net::IpAddr;

use crypto::{Encryption, Integrity, Secret, Suite};
use esp::Limits;

use super::state::{OffloadTo, UdpPorts};
use super::*;
use crate::plane::{Binding, Direction};

const OURS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const PEERS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 9));

/// A key that can be recognised in a message.
fn key(len: usize) -> Secret {
    Secret::new((0..len).map(|i| 0x40 + i as u8).collect())
}

fn suites() -> Vec<Suite> {
    let mut suites = Vec::new();
    for encryption in Encryption::ALL {
        if encryption.is_aead() {
            suites.push(Suite::new(encryption, None).unwrap());
        } else {
            suites.extend(
                Integrity::ALL.map(|integrity| Suite::new(encryption, Some(integrity)).unwrap()),
            );
        }
    }
    suites
}

/// An inbound state with everything that one can have.
fn inbound<'a>(suite: Suite, keymat: &'a Secret, integrity: &'a Secret) -> NewState<'a> {
    NewState {
        id: SaId {
            destination: OURS,
            spi: 0xc0de_0001,
        },
        source: PEERS,
        reqid: 7,
        binding: Binding::Mark(0xca05_0007),
        direction: Direction::Inbound,
        name_direction: true,
        suite,
        keymat,
        integrity,
        esn: true,
        window: 1024,
        replay: Replay {
            sent: 0,
            received: 0x2_0000_0005,
            bitmap: vec![0x1f; 32],
        },
        encap: Some(UdpPorts {
            source: 61_000,
            destination: 4500,
        }),
        lifetime: Lifetime {
            limits: Limits {
                soft_packets: Some(1000),
                hard_packets: Some(2000),
                soft_bytes: None,
                hard_bytes: Some(1 << 40),
            },
            seconds: Some(3660),
        },
        copy_dscp: true,
        output_mark: Some(0x55),
        mapping_interval: Some(10),
        offload: Some(OffloadTo {
            interface: 3,
            packet: true,
        }),
    }
}

fn policy(hook: Hook, binding: Binding) -> Policy {
    Policy {
        id: PolicyId {
            hook,
            selector: Selector::any_ipv4(),
            binding,
        },
        priority: 1,
        action: Action::Allow,
        template: Some(Template {
            id: SaId {
                destination: PEERS,
                spi: 0xdead_beef,
            },
            source: OURS,
            reqid: 7,
            tunnel: true,
        }),
        offload: None,
    }
}

/// A message of the kernel's, as the socket hands it on.
fn answer(kind: u16, body: &[u8]) -> crate::netlink::Answer<'_> {
    crate::netlink::Answer {
        kind,
        flags: 0,
        sequence: 1,
        port: 0,
        body,
    }
}
