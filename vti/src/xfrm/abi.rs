//! Numbers of `linux/xfrm.h` and `linux/netlink.h`.

/// `XFRM_MSG_*`.
pub(super) mod msg {
    pub(crate) const NEWSA: u16 = 0x10;
    pub(crate) const DELSA: u16 = 0x11;
    pub(crate) const GETSA: u16 = 0x12;
    pub(crate) const NEWPOLICY: u16 = 0x13;
    pub(crate) const DELPOLICY: u16 = 0x14;
    pub(crate) const GETPOLICY: u16 = 0x15;
    pub(crate) const ACQUIRE: u16 = 0x17;
    pub(crate) const EXPIRE: u16 = 0x18;
    pub(crate) const UPDPOLICY: u16 = 0x19;
    pub(crate) const UPDSA: u16 = 0x1a;
    pub(crate) const POLEXPIRE: u16 = 0x1b;
    pub(crate) const FLUSHSA: u16 = 0x1c;
    pub(crate) const FLUSHPOLICY: u16 = 0x1d;
    pub(crate) const NEWAE: u16 = 0x1e;
    pub(crate) const MIGRATE: u16 = 0x21;
    pub(crate) const MAPPING: u16 = 0x26;
    pub(crate) const GETDEFAULT: u16 = 0x28;
}

/// `XFRMA_*`.
pub(super) mod attr {
    pub(crate) const ALG_AUTH: u16 = 1;
    pub(crate) const ALG_CRYPT: u16 = 2;
    pub(crate) const ENCAP: u16 = 4;
    pub(crate) const TMPL: u16 = 5;
    pub(crate) const SA: u16 = 6;
    pub(crate) const POLICY: u16 = 7;
    pub(crate) const LTIME_VAL: u16 = 9;
    pub(crate) const REPLAY_VAL: u16 = 10;
    pub(crate) const LASTUSED: u16 = 15;
    pub(crate) const MIGRATE: u16 = 17;
    pub(crate) const ALG_AEAD: u16 = 18;
    pub(crate) const ALG_AUTH_TRUNC: u16 = 20;
    pub(crate) const MARK: u16 = 21;
    pub(crate) const REPLAY_ESN_VAL: u16 = 23;
    pub(crate) const SA_EXTRA_FLAGS: u16 = 24;
    pub(crate) const OFFLOAD_DEV: u16 = 28;
    pub(crate) const SET_MARK: u16 = 29;
    pub(crate) const SET_MARK_MASK: u16 = 30;
    pub(crate) const IF_ID: u16 = 31;
    pub(crate) const MTIMER_THRESH: u16 = 32;
    /// Linux 6.10; those before ignore attributes that they do not know.
    pub(crate) const SA_DIR: u16 = 33;
}

/// Multicast groups: `XFRMNLGRP_*`.
pub(super) mod group {
    pub(crate) const EXPIRE: u32 = 2;
    pub(crate) const SA: u32 = 3;
    pub(crate) const POLICY: u32 = 4;
    pub(crate) const MIGRATE: u32 = 7;
    pub(crate) const MAPPING: u32 = 8;
}

/// Sizes of structures, in bytes.
pub(super) mod size {
    pub(crate) const SELECTOR: usize = 56;
    pub(crate) const SA_INFO: usize = 224;
    pub(crate) const SA_ID: usize = 24;
    pub(crate) const POLICY_INFO: usize = 168;
    pub(crate) const POLICY_ID: usize = 64;
    pub(crate) const TEMPLATE: usize = 64;
    pub(crate) const EXPIRE: usize = 232;
    pub(crate) const POLEXPIRE: usize = 176;
    pub(crate) const ACQUIRE: usize = 280;
    pub(crate) const AEVENT: usize = 48;
    pub(crate) const MAPPING: usize = 64;
    pub(crate) const MIGRATE: usize = 76;
    /// `alg_name`.
    pub(crate) const ALGORITHM_NAME: usize = 64;
}

pub(super) const AF_INET: u16 = 2;
pub(super) const AF_INET6: u16 = 10;
pub(super) const IPPROTO_ESP: u8 = 50;
pub(super) const MODE_TUNNEL: u8 = 1;
pub(super) const UDP_ENCAP_ESPINUDP: u16 = 2;
/// `XFRM_INF`.
pub(super) const UNLIMITED: u64 = u64::MAX;

/// `XFRM_STATE_*`.
pub(super) const STATE_AF_UNSPEC: u8 = 32;
pub(super) const STATE_ESN: u8 = 128;
/// `XFRM_SA_XFLAG_DONT_ENCAP_DSCP`.
pub(super) const XFLAG_DONT_ENCAP_DSCP: u32 = 1;

pub(super) const SA_DIR_IN: u8 = 1;
pub(super) const SA_DIR_OUT: u8 = 2;

/// `XFRM_OFFLOAD_*`.
pub(super) const OFFLOAD_INBOUND: u8 = 2;
pub(super) const OFFLOAD_PACKET: u8 = 4;

/// All algorithms that the kernel has: what a template asks for.
pub(super) const ANY_ALGORITHM: u32 = u32::MAX;
