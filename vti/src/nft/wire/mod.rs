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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::attribute::{Attributes, Fields};
    use super::expression::{Expr, Verdict};
    use super::message::replies;
    use super::object::{ChainObject, Element, RuleObject, SetObject, encode_comment};

    /// A rule as the kernel would list it, with every kind of attribute.
    fn rule() -> Vec<u8> {
        let mut body = Attributes::default();
        body.string(1, "filter").string(2, "input").u64(3, 7);
        body.nested(4, |list| {
            Expr::Log {
                prefix: Some("x".to_owned()),
            }
            .encode(list);
            Expr::Counter {
                packets: 1,
                bytes: 2,
            }
            .encode(list);
            Expr::Verdict(Verdict::Jump("a".to_owned())).encode(list);
        });
        body.bytes(7, &encode_comment("name"));
        body.as_bytes().to_vec()
    }

    fn decode_everything(bytes: &[u8]) {
        let _ = replies(bytes);
        let _ = ChainObject::decode(1, bytes);
        let _ = RuleObject::decode(1, bytes);
        let _ = SetObject::decode(1, bytes);
        let _ = Element::decode_list(bytes);
        let _ = Fields::parse(bytes).map(|fields| Expr::decode_list(&fields));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            decode_everything(&bytes);
        }

        #[test]
        fn no_damage_to_a_rule_makes_a_decoder_panic(
            at in 0_usize..200, value: u8, cut in 0_usize..200,
        ) {
            let mut bytes = rule();
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            bytes.truncate(cut);
            decode_everything(&bytes);
        }
    }
}
