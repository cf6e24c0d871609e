//! What the kernel does in bulk for the plane, step by step down to nothing.

use std::fmt;

/// What the plane asks the kernel to do in bulk. What a kernel or device cannot do is done without, and said in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// What a tunnel's interface hands over and takes unfinished.
    pub tun: TunOffload,
    /// One call sends a train of ESP packets in UDP (`UDP_SEGMENT`, Linux 4.18).
    pub segment: bool,
    /// One call receives a train of ESP packets in UDP (`UDP_GRO`, Linux 5.0).
    pub merge: bool,
}

impl Offloads {
    /// All that the kernel can.
    pub const ALL: Self = Self {
        tun: TunOffload::TcpAndUdp,
        segment: true,
        merge: true,
    };

    /// One packet per call, everywhere.
    pub const NONE: Self = Self {
        tun: TunOffload::None,
        segment: false,
        merge: false,
    };
}

impl Default for Offloads {
    fn default() -> Self {
        Self::ALL
    }
}

/// What a TUN hands over and takes unfinished; each step includes the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TunOffload {
    /// Whole packets only.
    None,
    /// Packets with a header that says what is left to do, and nothing is.
    Header,
    /// Transport checksums.
    Checksum,
    /// Runs of TCP segments (TSO).
    Tcp,
    /// Runs of UDP datagrams as well (USO, Linux 6.2).
    TcpAndUdp,
}

impl TunOffload {
    /// What to ask for, one after the other.
    pub(super) const STEPS: [Self; 4] = [Self::TcpAndUdp, Self::Tcp, Self::Checksum, Self::Header];

    /// The features that TUNSETOFFLOAD takes.
    pub(super) const fn features(self) -> u32 {
        const TCP: u32 = libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
        match self {
            Self::None | Self::Header => 0,
            Self::Checksum => libc::TUN_F_CSUM,
            Self::Tcp => libc::TUN_F_CSUM | TCP,
            Self::TcpAndUdp => libc::TUN_F_CSUM | TCP | libc::TUN_F_USO4 | libc::TUN_F_USO6,
        }
    }
}

impl fmt::Display for TunOffload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none, and no header for it",
            Self::Header => "none",
            Self::Checksum => "checksums",
            Self::Tcp => "checksums and TCP",
            Self::TcpAndUdp => "checksums, TCP and UDP",
        })
    }
}
