//! The nf_tables netlink protocol: attributes, messages, expressions and objects.
//!
//! Numbers are those of the kernel's `include/uapi/linux/netfilter/nf_tables.h` and `nfnetlink.h`. Integers
//! inside attributes are big-endian, unlike those of the netlink header around them.
//! No sockets here: see [`super::socket`].

pub(super) mod attribute;
pub(super) mod expression;
pub(super) mod message;
pub(super) mod object;

/// Address families as nf_tables numbers them (`NFPROTO_*`).
pub(super) mod family {
    pub(in super::super) const UNSPEC: u8 = 0;
    pub(in super::super) const INET: u8 = 1;
    pub(in super::super) const IPV4: u8 = 2;
    pub(in super::super) const IPV6: u8 = 10;

    /// The family in the words of the nft language.
    pub(in super::super) fn words(family: u8) -> &'static str {
        match family {
            INET => "inet",
            IPV4 => "ip",
            IPV6 => "ip6",
            3 => "arp",
            5 => "netdev",
            7 => "bridge",
            _ => "unknown",
        }
    }
}
