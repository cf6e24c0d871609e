//! Nexthop objects on the wire: `RTM_NEWNEXTHOP` and its like (linux/nexthop.h).

use std::net::IpAddr;

use nix::errno::Errno;

use crate::{
    host::Error,
    netlink::{Answer, Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE},
    netlink::{Socket, attributes, u8_at, u16_at, u32_at},
    observed::{Member, NexthopId},
    plan::{Hop, ROUTE_PROTOCOL},
    route::{octets, read_address},
};

pub(crate) const RTM_NEWNEXTHOP: u16 = 104;
pub(crate) const RTM_DELNEXTHOP: u16 = 105;
const RTM_GETNEXTHOP: u16 = 106;

const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_ENCAP: u16 = 8;

const RTNH_F_ONLINK: u32 = 4;
/// The size of `struct nhmsg`: family, scope, protocol, reserved, flags.
const NHMSG: usize = 8;

fn nhmsg(family: u8, protocol: u8, flags: u32) -> [u8; NHMSG] {
    let [a, b, c, d] = flags.to_ne_bytes();
    [family, 0, protocol, 0, a, b, c, d]
}

/// Asks for all of them.
pub(crate) fn dump() -> Message {
    Message::new(RTM_GETNEXTHOP, NLM_F_DUMP, &nhmsg(0, 0, 0))
}

/// Whether this kernel has nexthop objects: those before 5.3 do not know the question.
pub(crate) async fn is_supported(socket: &mut Socket) -> Result<bool, Error> {
    match socket.dump("nexthop objects", &dump(), |_| {}).await {
        Ok(()) => Ok(true),
        Err(e) if matches!(e.errno(), Some(Errno::EOPNOTSUPP | Errno::EINVAL)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a single one; `index` is its interface's.
pub(crate) fn add(id: NexthopId, hop: &Hop, index: u32) -> Message {
    let family = if hop.via.is_some_and(|via| via.is_ipv6()) {
        libc::AF_INET6
    } else {
        libc::AF_INET
    };
    let flags = if hop.onlink { RTNH_F_ONLINK } else { 0 };
    let fixed = nhmsg(
        u8::try_from(family).unwrap_or_default(),
        ROUTE_PROTOCOL,
        flags,
    );
    Message::new(
        RTM_NEWNEXTHOP,
        NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK,
        &fixed,
    )
    .attribute(NHA_ID, &id.0.to_ne_bytes())
    .attribute(NHA_OIF, &index.to_ne_bytes())
    .maybe(NHA_GATEWAY, hop.via.map(octets))
}

/// Makes a group.
pub(crate) fn add_group(id: NexthopId, members: &[Member]) -> Message {
    group(id, members, NLM_F_CREATE | NLM_F_EXCL)
}

/// Changes a group that exists.
pub(crate) fn replace_group(id: NexthopId, members: &[Member]) -> Message {
    group(id, members, NLM_F_REPLACE)
}

fn group(id: NexthopId, members: &[Member], flags: u16) -> Message {
    let mut entries = Vec::with_capacity(members.len() * 8);
    for member in members {
        // struct nexthop_grp: id, weight less one, three bytes reserved.
        entries.extend_from_slice(&member.id.0.to_ne_bytes());
        entries.extend_from_slice(&[member.weight.saturating_sub(1), 0, 0, 0]);
    }
    Message::new(
        RTM_NEWNEXTHOP,
        flags | NLM_F_ACK,
        &nhmsg(0, ROUTE_PROTOCOL, 0),
    )
    .attribute(NHA_ID, &id.0.to_ne_bytes())
    .attribute(NHA_GROUP, &entries)
}

/// Deletes a single one or a group.
pub(crate) fn delete(id: NexthopId) -> Message {
    Message::new(RTM_DELNEXTHOP, NLM_F_ACK, &nhmsg(0, 0, 0)).attribute(NHA_ID, &id.0.to_ne_bytes())
}

/// A nexthop object as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) id: NexthopId,
    pub(crate) protocol: u8,
    pub(crate) onlink: bool,
    pub(crate) index: Option<u32>,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) members: Option<Vec<Member>>,
    /// A blackhole, an encapsulation …: nothing that we make.
    pub(crate) is_special: bool,
}

/// Reads a nexthop object; `None` if it is none.
pub(crate) fn read(answer: &Answer<'_>) -> Option<Told> {
    if answer.kind != RTM_NEWNEXTHOP && answer.kind != RTM_DELNEXTHOP {
        return None;
    }
    let mut told = Told {
        id: NexthopId(0),
        protocol: u8_at(answer.body, 2)?,
        onlink: u32_at(answer.body, 4)? & RTNH_F_ONLINK != 0,
        index: None,
        gateway: None,
        members: None,
        is_special: false,
    };
    for (kind, value) in attributes(answer.body, NHMSG) {
        match kind {
            NHA_ID => told.id = NexthopId(u32_at(value, 0)?),
            NHA_OIF => told.index = u32_at(value, 0),
            NHA_GATEWAY => told.gateway = read_address(value),
            NHA_GROUP => {
                told.members = Some(value.chunks_exact(8).filter_map(read_member).collect())
            }
            NHA_BLACKHOLE | NHA_ENCAP => told.is_special = true,
            _ => {}
        }
    }
    Some(told)
}

fn read_member(entry: &[u8]) -> Option<Member> {
    // Since Linux 6.12 a weight has 16 bits, whose upper half is in the next byte.
    let weight = u16_at(entry, 4)?.to_ne_bytes();
    let weight = u8_at(&weight, 0)?.saturating_add(1);
    Some(Member {
        id: NexthopId(u32_at(entry, 0)?),
        weight,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::answers;

    #[test]
    fn a_group_reads_as_it_was_written() {
        let members = [
            Member {
                id: NexthopId(7),
                weight: 1,
            },
            Member {
                id: NexthopId(9),
                weight: 255,
            },
        ];
        let bytes = add_group(NexthopId(10), &members).bytes(1);

        let told = read(&answers(&bytes).next().unwrap()).unwrap();

        assert_eq!(told.id, NexthopId(10));
        assert_eq!(told.protocol, ROUTE_PROTOCOL);
        assert_eq!(told.members.unwrap(), members);
    }

    #[test]
    fn a_single_one_reads_as_it_was_written() {
        for via in ["10.1.0.1", "fe80::1"] {
            let hop = Hop {
                dev: "tun1".parse().unwrap(),
                via: Some(via.parse().unwrap()),
                onlink: true,
            };
            let bytes = add(NexthopId(3), &hop, 12).bytes(1);

            let told = read(&answers(&bytes).next().unwrap()).unwrap();

            assert_eq!(
                (told.id, told.index, told.gateway),
                (NexthopId(3), Some(12), hop.via)
            );
            assert!(told.onlink);
        }
    }
}
