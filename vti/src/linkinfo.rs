//! What an interface is made of, as `IFLA_LINKINFO` tells it (linux/if_link.h, linux/if_tunnel.h): reading it, asking for it,
//! and the same in the words of `ip link`.

use std::fmt;
use std::net::Ipv4Addr;

use crate::{
    ifname::IfName,
    netlink::{
        Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, attributes, put_attribute, text, u32_at,
    },
    plan::LinkKind,
};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
/// The size of `struct ifinfomsg`.
const IFINFOMSG: usize = 16;

const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;

const IFLA_VTI_IKEY: u16 = 2;
const IFLA_VTI_OKEY: u16 = 3;
const IFLA_VTI_LOCAL: u16 = 4;
const IFLA_VTI_REMOTE: u16 = 5;

const IFLA_XFRM_LINK: u16 = 1;
const IFLA_XFRM_IF_ID: u16 = 2;

/// What a tunnel interface is made of, as far as it decides which packets belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// A TUN or TAP.
    Tun,
    /// A `vti` interface.
    Vti {
        /// The mark of what comes in.
        ikey: u32,
        /// The mark of what goes out.
        okey: u32,
        /// Our outer address; unspecified for any.
        local: Ipv4Addr,
        /// The peer's outer address; unspecified for any.
        remote: Ipv4Addr,
    },
    /// An `xfrm` interface.
    Xfrm {
        /// The number that its policies and states carry.
        if_id: u32,
    },
}

/// How far an interface is from what it should be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It is that.
    Same,
    /// It can become that in place: the kernel changes keys and addresses of a `vti` interface, and nothing else.
    Changeable,
    /// It has to be made anew.
    Other,
}

impl Make {
    /// What an interface of that kind is when it is made.
    pub(crate) fn of(kind: LinkKind) -> Self {
        match kind {
            LinkKind::Tun => Self::Tun,
            LinkKind::Vti { key, local, remote } => Self::Vti {
                ikey: key,
                okey: key,
                local: local.unwrap_or(Ipv4Addr::UNSPECIFIED),
                remote,
            },
            LinkKind::Xfrm { if_id } => Self::Xfrm { if_id },
        }
    }

    /// How far it is from `wanted`. A `vti` interface may have any address of ours while the right one is not known.
    pub(crate) fn fit(self, wanted: LinkKind) -> Fit {
        match (self, wanted) {
            (Self::Tun, LinkKind::Tun) => Fit::Same,
            (Self::Xfrm { if_id: now }, LinkKind::Xfrm { if_id }) if now == if_id => Fit::Same,
            (
                Self::Vti {
                    ikey,
                    okey,
                    local: now,
                    remote: peer,
                },
                LinkKind::Vti { key, local, remote },
            ) => {
                let same = ikey == key
                    && okey == key
                    && peer == remote
                    && local.is_none_or(|local| local == now);
                if same { Fit::Same } else { Fit::Changeable }
            }
            _ => Fit::Other,
        }
    }
}

impl fmt::Display for Make {
    /// As `ip link` shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tun => f.write_str("tun"),
            Self::Vti {
                ikey,
                okey,
                local,
                remote,
            } if ikey == okey => {
                write!(f, "vti local {local} remote {remote} key {ikey:#x}")
            }
            Self::Vti {
                ikey,
                okey,
                local,
                remote,
            } => {
                write!(
                    f,
                    "vti local {local} remote {remote} ikey {ikey:#x} okey {okey:#x}"
                )
            }
            Self::Xfrm { if_id } => write!(f, "xfrm if_id {if_id:#x}"),
        }
    }
}

impl fmt::Display for LinkKind {
    /// As `ip link add DEV type` takes it; a TUN has another command.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tun => f.write_str("tun"),
            Self::Vti { key, local, remote } => {
                f.write_str("vti local ")?;
                match local {
                    Some(local) => write!(f, "{local}")?,
                    None => f.write_str("any")?,
                }
                write!(f, " remote {remote} key {key:#x}")
            }
            // Which interface the outer packets leave through is for the routes to say. Old kernels want one to be named all the
            // same, and every network namespace has this one.
            Self::Xfrm { if_id } => write!(f, "xfrm dev lo if_id {if_id:#x}"),
        }
    }
}

/// Reads the kind, and what is special about it, out of an `IFLA_LINKINFO`.
pub(crate) fn read(linkinfo: &[u8]) -> (String, Option<Make>) {
    let part = |wanted| {
        attributes(linkinfo, 0)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    };
    let kind = part(IFLA_INFO_KIND).map(text).unwrap_or_default();
    let data = part(IFLA_INFO_DATA).unwrap_or_default();
    let make = match kind.as_str() {
        "tun" => Some(Make::Tun),
        "vti" => Some(read_vti(data)),
        "xfrm" => Some(read_xfrm(data)),
        _ => None,
    };
    (kind, make)
}

fn read_vti(data: &[u8]) -> Make {
    let be32 = |wanted| {
        attributes(data, 0)
            .find(|(kind, _)| *kind == wanted)
            .and_then(|(_, value)| Some(u32::from_be_bytes(*value.first_chunk()?)))
            .unwrap_or_default()
    };
    Make::Vti {
        ikey: be32(IFLA_VTI_IKEY),
        okey: be32(IFLA_VTI_OKEY),
        local: be32(IFLA_VTI_LOCAL).into(),
        remote: be32(IFLA_VTI_REMOTE).into(),
    }
}

fn read_xfrm(data: &[u8]) -> Make {
    let if_id = attributes(data, 0)
        .find(|(kind, _)| *kind == IFLA_XFRM_IF_ID)
        .and_then(|(_, value)| u32_at(value, 0));
    Make::Xfrm {
        if_id: if_id.unwrap_or_default(),
    }
}

/// Asks for a new interface; `None` for a kind that is not made this way. `below` is the number of the interface that an
/// `xfrm` interface names as its link.
pub(crate) fn add(dev: IfName, kind: LinkKind, below: u32) -> Option<Message> {
    request(dev, kind, below, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)
}

/// Asks for other keys and addresses of a `vti` interface; `None` for a kind that cannot be changed.
pub(crate) fn change(dev: IfName, kind: LinkKind) -> Option<Message> {
    match kind {
        LinkKind::Vti { .. } => request(dev, kind, 0, NLM_F_ACK),
        LinkKind::Tun | LinkKind::Xfrm { .. } => None,
    }
}

/// Asks for the end of an interface.
pub(crate) fn delete(dev: IfName) -> Message {
    named(RTM_DELLINK, NLM_F_ACK, dev)
}

/// An interface is found by its name.
fn named(kind: u16, flags: u16, dev: IfName) -> Message {
    Message::new(kind, flags, &[0; IFINFOMSG])
        .attribute(IFLA_IFNAME, &[dev.as_str().as_bytes(), &[0]].concat())
}

fn request(dev: IfName, kind: LinkKind, below: u32, flags: u16) -> Option<Message> {
    let mut data = Vec::new();
    let name: &[u8] = match kind {
        LinkKind::Tun => return None,
        LinkKind::Vti { key, local, remote } => {
            let local = local.unwrap_or(Ipv4Addr::UNSPECIFIED);
            put_attribute(&mut data, IFLA_VTI_IKEY, &key.to_be_bytes());
            put_attribute(&mut data, IFLA_VTI_OKEY, &key.to_be_bytes());
            put_attribute(&mut data, IFLA_VTI_LOCAL, &local.octets());
            put_attribute(&mut data, IFLA_VTI_REMOTE, &remote.octets());
            b"vti\0"
        }
        LinkKind::Xfrm { if_id } => {
            put_attribute(&mut data, IFLA_XFRM_LINK, &below.to_ne_bytes());
            put_attribute(&mut data, IFLA_XFRM_IF_ID, &if_id.to_ne_bytes());
            b"xfrm\0"
        }
    };
    let mut linkinfo = Vec::new();
    put_attribute(&mut linkinfo, IFLA_INFO_KIND, name);
    put_attribute(&mut linkinfo, IFLA_INFO_DATA, &data);
    Some(named(RTM_NEWLINK, flags, dev).attribute(IFLA_LINKINFO, &linkinfo))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::answers;

    fn vti(key: u32, local: Option<&str>) -> LinkKind {
        LinkKind::Vti {
            key,
            local: local.map(|text| text.parse().unwrap()),
            remote: "192.0.2.2".parse().unwrap(),
        }
    }

    fn linkinfo_of(message: &Message) -> Vec<u8> {
        let bytes = message.bytes(1);
        let answer = answers(&bytes).next().unwrap();
        let found = attributes(answer.body, IFINFOMSG).find(|(kind, _)| *kind == IFLA_LINKINFO);
        found.unwrap().1.to_vec()
    }

    #[test]
    fn what_is_asked_for_reads_as_what_is_there_and_cuts_never_panic() {
        let dev = "cw-oci-1".parse().unwrap();
        for kind in [
            vti(0xca05_0001, Some("192.0.2.1")),
            vti(7, None),
            LinkKind::Xfrm { if_id: 0xca05_0002 },
        ] {
            let linkinfo = linkinfo_of(&add(dev, kind, 1).unwrap());
            let (_, make) = read(&linkinfo);
            assert_eq!(make, Some(Make::of(kind)));
            assert_eq!(make.unwrap().fit(kind), Fit::Same);
            for length in 0..linkinfo.len() {
                let _ = read(&linkinfo[..length]);
            }
        }
        assert_eq!(add(dev, LinkKind::Tun, 1), None);
    }

    #[test]
    fn the_kernels_own_octets_are_read() {
        // From `ip link add v type vti local 192.0.2.1 remote 192.0.2.2 key 42`, as `struct nlattr`s of linux/netlink.h.
        let vti = [
            8, 0, 1, 0, b'v', b't', b'i', 0, // IFLA_INFO_KIND
            36, 0, 2, 0, // IFLA_INFO_DATA
            8, 0, 2, 0, 0, 0, 0, 42, // IKEY, big-endian
            8, 0, 3, 0, 0, 0, 0, 42, // OKEY
            8, 0, 4, 0, 192, 0, 2, 1, // LOCAL
            8, 0, 5, 0, 192, 0, 2, 2, // REMOTE
        ];
        let (kind, make) = read(&vti);
        assert_eq!(kind, "vti");
        assert_eq!(
            make.unwrap().to_string(),
            "vti local 192.0.2.1 remote 192.0.2.2 key 0x2a"
        );
        let mut xfrm = vec![9, 0, 1, 0, b'x', b'f', b'r', b'm', 0, 0, 0, 0, 12, 0, 2, 0];
        xfrm.extend([8, 0, 2, 0]);
        xfrm.extend(7_u32.to_ne_bytes());
        assert_eq!(read(&xfrm), ("xfrm".into(), Some(Make::Xfrm { if_id: 7 })));
    }

    #[test]
    fn keys_and_addresses_of_a_vti_can_change_and_nothing_else_can() {
        let now = Make::of(vti(1, Some("192.0.2.1")));
        assert_eq!(now.fit(vti(1, None)), Fit::Same);
        assert_eq!(now.fit(vti(2, None)), Fit::Changeable);
        assert_eq!(now.fit(vti(1, Some("192.0.2.9"))), Fit::Changeable);
        assert_eq!(now.fit(LinkKind::Xfrm { if_id: 1 }), Fit::Other);
        let xfrm = Make::Xfrm { if_id: 1 };
        assert_eq!(xfrm.fit(LinkKind::Xfrm { if_id: 2 }), Fit::Other);
        assert_eq!(Make::Tun.fit(LinkKind::Xfrm { if_id: 2 }), Fit::Other);
        let uneven = Make::Vti {
            ikey: 1,
            okey: 2,
            local: Ipv4Addr::UNSPECIFIED,
            remote: "192.0.2.2".parse().unwrap(),
        };
        assert_eq!(uneven.fit(vti(1, None)), Fit::Changeable);
    }
}
