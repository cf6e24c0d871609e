//! The expressions of a rule: what a packet is loaded from, compared with, and what then happens.
//!
//! The same type is written for our own rules and read from everybody's. What we do not know is kept as
//! [`Expr::Unknown`] with its name, never dropped: a rule that we half understand must not look understood.

use super::attribute::{Attributes, DATA_VERDICT, Fields};

/// Position in the kernel's 64 bytes of registers. Old names count in 16 bytes, new ones in 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Register(u8);

impl Register {
    /// The first one, which is enough for most rules.
    pub(in super::super) const FIRST: Self = Self(0);
    /// Sixteen bytes later: the second part of a concatenation that begins with an interface's name.
    pub(in super::super) const SECOND: Self = Self(16);
    const REG_1: u32 = 1;
    const REG32_00: u32 = 8;

    fn from_number(number: u32) -> Option<Self> {
        let offset = match number {
            1..=4 => (number - Self::REG_1) * 16,
            8..=23 => (number - Self::REG32_00) * 4,
            _ => return None,
        };
        u8::try_from(offset).ok().map(Self)
    }

    fn number(self) -> u32 {
        let offset = u32::from(self.0);
        if offset % 16 == 0 {
            Self::REG_1 + offset / 16
        } else {
            Self::REG32_00 + offset / 4
        }
    }

    pub(in super::super) fn offset(self) -> usize {
        usize::from(self.0)
    }
}

/// `enum nft_cmp_ops`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    const ALL: [Self; 6] = [
        Self::Equal,
        Self::NotEqual,
        Self::Less,
        Self::LessOrEqual,
        Self::Greater,
        Self::GreaterOrEqual,
    ];

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// What happens to the packet or where the evaluation goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Verdict {
    Accept,
    Drop,
    Queue,
    Continue,
    Break,
    Jump(String),
    Goto(String),
    Return,
    Other(i32),
}

/// Where a lookup puts what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum LookupResult {
    /// Nowhere: it only matches.
    Membership,
    /// The element's verdict is carried out.
    Verdict,
    /// The element's data goes into a register.
    Data(Register),
}

/// One expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Expr {
    Meta {
        key: u32,
        to: Register,
    },
    Payload {
        base: u32,
        offset: u32,
        len: u32,
        to: Register,
    },
    Bitwise {
        from: Register,
        to: Register,
        mask: Vec<u8>,
        xor: Vec<u8>,
    },
    Byteorder {
        from: Register,
        to: Register,
        len: u32,
        size: u32,
    },
    Cmp {
        register: Register,
        op: Comparison,
        value: Vec<u8>,
    },
    Range {
        register: Register,
        inside: bool,
        low: Vec<u8>,
        high: Vec<u8>,
    },
    Lookup {
        register: Register,
        set: String,
        set_id: u32,
        result: LookupResult,
        inverted: bool,
    },
    Ct {
        key: u32,
        to: Register,
    },
    /// What the packet's route says.
    Route {
        key: u32,
        to: Register,
    },
    Fib {
        result: u32,
        flags: u32,
        to: Register,
    },
    Immediate {
        to: Register,
        value: Vec<u8>,
    },
    Verdict(Verdict),
    Counter {
        packets: u64,
        bytes: u64,
    },
    Limit {
        rate: u64,
        unit: u64,
        burst: u32,
        over: bool,
    },
    Log {
        prefix: Option<String>,
    },
    Reject,
    /// Writes a register's bytes into an option of the TCP header; the kernel only ever lowers an MSS.
    SetTcpOption {
        kind: u8,
        offset: u32,
        len: u32,
        from: Register,
    },
    /// Destination NAT or redirect: the packet goes elsewhere.
    Redirect,
    /// Source NAT or masquerading.
    Translate,
    /// A match or target of iptables, run through the compatibility layer.
    Xt {
        target: bool,
        name: String,
        revision: u32,
        data: Vec<u8>,
    },
    /// Something that neither decides nor loads: `notrack`, a named counter, a mark that is set.
    Effect {
        name: String,
    },
    Unknown {
        name: String,
    },
}

/// Keys of `meta` (`enum nft_meta_keys`).
pub(in super::super) mod meta {
    pub(in super::super::super) const PROTOCOL: u32 = 1;
    pub(in super::super::super) const IIF: u32 = 4;
    pub(in super::super::super) const OIF: u32 = 5;
    pub(in super::super::super) const IIFNAME: u32 = 6;
    pub(in super::super::super) const OIFNAME: u32 = 7;
    pub(in super::super::super) const NFPROTO: u32 = 15;
    pub(in super::super::super) const L4PROTO: u32 = 16;
    pub(in super::super::super) const PKTTYPE: u32 = 19;
}

/// Keys of `ct` (`enum nft_ct_keys`) and bits of its state.
pub(in super::super) mod ct {
    pub(in super::super::super) const STATE: u32 = 0;
    pub(in super::super::super) const ESTABLISHED: u32 = 2;
    pub(in super::super::super) const RELATED: u32 = 4;
    pub(in super::super::super) const NEW: u32 = 8;
}

/// Keys of `rt` (`enum nft_rt_keys`).
pub(in super::super) mod rt {
    /// The largest segment that the packet's route and the way back to its sender carry.
    pub(in super::super::super) const TCP_MSS: u32 = 3;
}

/// Bases of `payload` (`enum nft_payload_bases`).
pub(in super::super) mod base {
    pub(in super::super::super) const NETWORK: u32 = 1;
    pub(in super::super::super) const TRANSPORT: u32 = 2;
}

const LOOKUP_INVERTED: u32 = 1;
const LIMIT_OVER: u32 = 1;
/// `NFT_BYTEORDER_HTON`; the other direction moves the same bytes.
const TO_NETWORK_ORDER: u32 = 1;
/// `NFT_EXTHDR_OP_TCPOPT`.
const TCP_OPTION: u32 = 1;

impl Expr {
    /// Writes the expression as an element of a rule's list.
    pub(in super::super) fn encode(&self, list: &mut Attributes) {
        list.nested(1, |expr| {
            expr.string(1, self.name());
            expr.nested(2, |data| self.encode_data(data));
        });
    }

    fn name(&self) -> &str {
        match self {
            Self::Meta { .. } => "meta",
            Self::Payload { .. } => "payload",
            Self::Bitwise { .. } => "bitwise",
            Self::Byteorder { .. } => "byteorder",
            Self::Cmp { .. } => "cmp",
            Self::Range { .. } => "range",
            Self::Lookup { .. } => "lookup",
            Self::Ct { .. } => "ct",
            Self::Route { .. } => "rt",
            Self::Fib { .. } => "fib",
            Self::Immediate { .. } | Self::Verdict(_) => "immediate",
            Self::Counter { .. } => "counter",
            Self::Limit { .. } => "limit",
            Self::Log { .. } => "log",
            Self::Reject => "reject",
            Self::SetTcpOption { .. } => "exthdr",
            Self::Redirect => "redir",
            Self::Translate => "masq",
            Self::Xt { target: true, .. } => "target",
            Self::Xt { target: false, .. } => "match",
            Self::Effect { name } | Self::Unknown { name } => name,
        }
    }

    /// The attributes of those expressions that our own rules use. The others are only ever read.
    fn encode_data(&self, data: &mut Attributes) {
        match self {
            Self::Meta { key, to } | Self::Ct { key, to } | Self::Route { key, to } => {
                data.u32(1, to.number()).u32(2, *key);
            }
            Self::Payload {
                base,
                offset,
                len,
                to,
            } => {
                data.u32(1, to.number())
                    .u32(2, *base)
                    .u32(3, *offset)
                    .u32(4, *len);
            }
            Self::Bitwise {
                from,
                to,
                mask,
                xor,
            } => {
                data.u32(1, from.number())
                    .u32(2, to.number())
                    .u32(3, mask.len() as u32);
                data.data(4, mask).data(5, xor);
            }
            Self::Byteorder {
                from,
                to,
                len,
                size,
            } => {
                data.u32(1, from.number())
                    .u32(2, to.number())
                    .u32(3, TO_NETWORK_ORDER)
                    .u32(4, *len)
                    .u32(5, *size);
            }
            Self::SetTcpOption {
                kind,
                offset,
                len,
                from,
            } => {
                data.bytes(2, &[*kind])
                    .u32(3, *offset)
                    .u32(4, *len)
                    .u32(6, TCP_OPTION)
                    .u32(7, from.number());
            }
            Self::Cmp {
                register,
                op,
                value,
            } => {
                data.u32(1, register.number())
                    .u32(2, *op as u32)
                    .data(3, value);
            }
            Self::Lookup {
                register,
                set,
                set_id,
                ..
            } => {
                data.string(1, set)
                    .u32(2, register.number())
                    .u32(4, *set_id);
            }
            Self::Verdict(verdict) => {
                data.u32(1, 0).nested(2, |value| verdict.encode(value));
            }
            Self::Counter { packets, bytes } => {
                data.u64(1, *bytes).u64(2, *packets);
            }
            Self::Limit {
                rate, unit, burst, ..
            } => {
                data.u64(1, *rate)
                    .u64(2, *unit)
                    .u32(3, *burst)
                    .u32(4, 0)
                    .u32(5, 0);
            }
            Self::Log { prefix } => {
                if let Some(prefix) = prefix {
                    data.string(2, prefix);
                }
            }
            Self::Range { .. }
            | Self::Fib { .. }
            | Self::Immediate { .. }
            | Self::Reject
            | Self::Redirect
            | Self::Translate
            | Self::Xt { .. }
            | Self::Effect { .. }
            | Self::Unknown { .. } => {}
        }
    }

    /// Reads a rule's list of expressions.
    pub(in super::super) fn decode_list(list: &Fields<'_>) -> Vec<Self> {
        list.iter()
            .map(|(_, element)| Self::decode(element))
            .collect()
    }

    fn decode(element: &[u8]) -> Self {
        let Ok(fields) = Fields::parse(element) else {
            return Self::Unknown {
                name: "malformed".to_owned(),
            };
        };
        let name = fields.string(1).unwrap_or_default();
        let data = fields.nested(2).unwrap_or_default();
        Self::decode_known(&name, &data).unwrap_or(Self::Unknown { name })
    }

    fn decode_known(name: &str, data: &Fields<'_>) -> Option<Self> {
        let register = |kind| data.u32(kind).and_then(Register::from_number);
        let value = |kind| data.data(kind).map(<[u8]>::to_vec);
        Some(match name {
            "meta" => match data.u32(3) {
                Some(_) => Self::Effect {
                    name: "meta set".to_owned(),
                },
                None => Self::Meta {
                    key: data.u32(2)?,
                    to: register(1)?,
                },
            },
            "ct" => match data.u32(4) {
                Some(_) => Self::Effect {
                    name: "ct set".to_owned(),
                },
                None => Self::Ct {
                    key: data.u32(2)?,
                    to: register(1)?,
                },
            },
            "rt" => Self::Route {
                key: data.u32(2)?,
                to: register(1)?,
            },
            "payload" => match data.u32(5) {
                // A header that is rewritten: what later rules compare is not what we think.
                Some(_) => return None,
                None => Self::Payload {
                    base: data.u32(2)?,
                    offset: data.u32(3)?,
                    len: data.u32(4)?,
                    to: register(1)?,
                },
            },
            "bitwise" if data.u32(6).unwrap_or(0) == 0 => Self::Bitwise {
                from: register(1)?,
                to: register(2)?,
                mask: value(4)?,
                xor: value(5)?,
            },
            "byteorder" => Self::Byteorder {
                from: register(1)?,
                to: register(2)?,
                len: data.u32(4)?,
                size: data.u32(5)?,
            },
            "cmp" => Self::Cmp {
                register: register(1)?,
                op: Comparison::from_number(data.u32(2)?)?,
                value: value(3)?,
            },
            "range" => Self::Range {
                register: register(1)?,
                inside: data.u32(2)? == 0,
                low: value(3)?,
                high: value(4)?,
            },
            "lookup" => Self::decode_lookup(data)?,
            "fib" => Self::Fib {
                result: data.u32(2)?,
                flags: data.u32(3)?,
                to: register(1)?,
            },
            "immediate" => match data.u32(1)? {
                0 => Self::Verdict(Verdict::decode(&data.nested(2)?.nested(DATA_VERDICT)?)?),
                _ => Self::Immediate {
                    to: register(1)?,
                    value: value(2)?,
                },
            },
            _ => Self::decode_statement(name, data)?,
        })
    }

    /// What acts rather than matches.
    fn decode_statement(name: &str, data: &Fields<'_>) -> Option<Self> {
        Some(match name {
            "counter" => Self::Counter {
                bytes: data.u64(1)?,
                packets: data.u64(2)?,
            },
            "limit" => Self::Limit {
                rate: data.u64(1)?,
                unit: data.u64(2)?,
                burst: data.u32(3).unwrap_or(0),
                over: data.u32(5).unwrap_or(0) & LIMIT_OVER != 0,
            },
            "log" => Self::Log {
                prefix: data.string(2),
            },
            "reject" => Self::Reject,
            // Everything else of the kind loads or compares.
            "exthdr" if data.u32(6) == Some(TCP_OPTION) => Self::SetTcpOption {
                kind: *data.bytes(2)?.first()?,
                offset: data.u32(3)?,
                len: data.u32(4)?,
                from: data.u32(7).and_then(Register::from_number)?,
            },
            "redir" => Self::Redirect,
            "masq" => Self::Translate,
            "nat" => match data.u32(1)? {
                0 => Self::Translate,
                _ => Self::Redirect,
            },
            "match" | "target" => Self::Xt {
                target: name == "target",
                name: data.string(1)?,
                revision: data.u32(2)?,
                data: data.bytes(3).unwrap_or_default().to_vec(),
            },
            // A named counter or a connection-tracking helper; quotas and limits decide, so they stay unknown.
            "objref" if matches!(data.u32(1), Some(1 | 3)) => Self::Effect {
                name: name.to_owned(),
            },
            "notrack" | "flow_offload" | "last" => Self::Effect {
                name: name.to_owned(),
            },
            _ => return None,
        })
    }

    fn decode_lookup(data: &Fields<'_>) -> Option<Self> {
        let result = match data.u32(3) {
            None => LookupResult::Membership,
            Some(0) => LookupResult::Verdict,
            Some(number) => LookupResult::Data(Register::from_number(number)?),
        };
        Some(Self::Lookup {
            register: Register::from_number(data.u32(2)?)?,
            set: data.string(1)?,
            set_id: 0,
            result,
            inverted: data.u32(5).unwrap_or(0) & LOOKUP_INVERTED != 0,
        })
    }
}

impl Verdict {
    fn encode(&self, value: &mut Attributes) {
        let (code, chain) = match self {
            Self::Drop => (0, None),
            Self::Accept => (1, None),
            Self::Queue => (3, None),
            Self::Continue => (-1, None),
            Self::Break => (-2, None),
            Self::Jump(chain) => (-3, Some(chain)),
            Self::Goto(chain) => (-4, Some(chain)),
            Self::Return => (-5, None),
            Self::Other(code) => (*code, None),
        };
        value.nested(DATA_VERDICT, |verdict| {
            verdict.u32(1, i32::cast_unsigned(code));
            if let Some(chain) = chain {
                verdict.string(2, chain);
            }
        });
    }

    /// From the attributes inside `NFTA_DATA_VERDICT`.
    pub(in super::super) fn decode(fields: &Fields<'_>) -> Option<Self> {
        // The low byte of a netfilter verdict is the verdict; a queue's number is above it.
        Some(match u32::cast_signed(fields.u32(1)?) {
            -1 => Self::Continue,
            -2 => Self::Break,
            -3 => Self::Jump(fields.string(2)?),
            -4 => Self::Goto(fields.string(2)?),
            -5 => Self::Return,
            code if code & 0xff == 0 => Self::Drop,
            code if code & 0xff == 1 => Self::Accept,
            code if code & 0xff == 3 => Self::Queue,
            code => Self::Other(code),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(expr: &Expr) -> Expr {
        let mut list = Attributes::default();
        expr.encode(&mut list);
        let decoded = Expr::decode_list(&Fields::parse(list.as_bytes()).unwrap());
        decoded.into_iter().next().unwrap()
    }

    #[test]
    fn what_our_rules_are_made_of_reads_back_as_it_was_written() {
        let to = Register::SECOND;
        let all = [
            Expr::Meta {
                key: meta::IIFNAME,
                to: Register::FIRST,
            },
            Expr::Ct { key: ct::STATE, to },
            Expr::Payload {
                base: base::NETWORK,
                offset: 12,
                len: 4,
                to,
            },
            Expr::Bitwise {
                from: to,
                to,
                mask: vec![255, 0],
                xor: vec![0, 0],
            },
            Expr::Cmp {
                register: to,
                op: Comparison::GreaterOrEqual,
                value: vec![1, 2],
            },
            Expr::Route {
                key: rt::TCP_MSS,
                to,
            },
            Expr::Byteorder {
                from: to,
                to,
                len: 2,
                size: 2,
            },
            Expr::SetTcpOption {
                kind: 2,
                offset: 2,
                len: 2,
                from: to,
            },
            Expr::Verdict(Verdict::Jump("from_cloud".to_owned())),
            Expr::Verdict(Verdict::Drop),
            Expr::Counter {
                packets: 3,
                bytes: 4,
            },
            Expr::Limit {
                rate: 5,
                unit: 1,
                burst: 5,
                over: false,
            },
            Expr::Log {
                prefix: Some("x".to_owned()),
            },
        ];
        for expr in all {
            assert_eq!(round_trip(&expr), expr);
        }
    }

    #[test]
    fn an_expression_of_a_newer_kernel_keeps_its_name() {
        let unknown = Expr::Unknown {
            name: "teleport".to_owned(),
        };
        assert_eq!(round_trip(&unknown), unknown);
    }

    #[test]
    fn both_ways_to_number_registers_are_understood() {
        assert_eq!(Register::from_number(2), Register::from_number(12));
        assert_eq!(Register::from_number(9).map(Register::number), Some(9));
        assert_eq!(Register::from_number(0), None);
        assert_eq!(Register::from_number(24), None);
    }
}
