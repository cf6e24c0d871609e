//! A tunnel: its TUN interface and what it has carried.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use esp::{DropCounters, DropReason};

use crate::plane::{Error, TunnelCounters, TunnelSpec};
use crate::sys::tun;

/// Moments as numbers that fit an atomic: milliseconds since the plane was made, plus 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

/// A moment; 0 is never.
pub(super) type Stamp = u64;

impl Clock {
    pub(super) const fn starting(start: Instant) -> Self {
        Self(start)
    }

    pub(super) fn now(self) -> Stamp {
        self.stamp(Instant::now())
    }

    pub(super) fn stamp(self, at: Instant) -> Stamp {
        let since = at.saturating_duration_since(self.0).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX - 1) + 1
    }

    fn instant(self, stamp: Stamp) -> Option<Instant> {
        stamp
            .checked_sub(1)
            .map(|millis| self.0 + Duration::from_millis(millis))
    }
}

/// How long a path MTU that the kernel has learned is believed (RFC 1191 section 6.3; the kernel's
/// own default).
const PATH_MTU_AGE: Duration = Duration::from_secs(600);

/// What one direction has carried.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    packets: AtomicU64,
    bytes: AtomicU64,
    last: AtomicU64,
}

impl Traffic {
    pub(super) fn count(&self, bytes: usize, now: Stamp) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.last.store(now, Ordering::Relaxed);
    }
}

/// A tunnel. Its interface exists as long as this does.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) spec: TunnelSpec,
    tun: File,
    pub(super) inbound: Traffic,
    pub(super) outbound: Traffic,
    pub(super) drops: DropCounters,
    /// The inner MTU, for clamping in either direction; 0 as long as there was no outbound SA.
    inner_mtu: AtomicU16,
    /// The outer MTU that the kernel has learned; 0 if none, and until when it holds.
    path_mtu: AtomicU16,
    path_mtu_until: AtomicU64,
}

impl Tunnel {
    /// Creates the interface, in the network namespace of the calling thread.
    pub(super) fn create(spec: &TunnelSpec) -> Result<Self, Error> {
        let name = &spec.interface;
        let usable = (1..=15).contains(&name.len())
            && !name.contains(['/', '%', ':'])
            && !name.contains(char::is_whitespace)
            && !matches!(name.as_str(), "." | "..");
        if !usable {
            return Err(Error::InterfaceName {
                interface: name.clone(),
            });
        }
        let file = tun::open().map_err(open_error)?;
        tun::create(&file, name).map_err(|cause| create_error(cause, name))?;
        Ok(Self {
            spec: spec.clone(),
            tun: file,
            inbound: Traffic::default(),
            outbound: Traffic::default(),
            drops: DropCounters::default(),
            inner_mtu: AtomicU16::new(0),
            path_mtu: AtomicU16::new(0),
            path_mtu_until: AtomicU64::new(0),
        })
    }

    /// The next packet that the host has routed into the tunnel. A packet longer than the buffer is
    /// cut short.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.tun).read(buffer)
    }

    /// Hands a packet to the host, as if it had arrived on the interface.
    pub(super) fn deliver(&self, packet: &[u8]) -> Result<(), DropReason> {
        match (&self.tun).write(packet) {
            Ok(_) => Ok(()),
            // EIO: the interface is down. EINVAL: the kernel does not take it for an IP packet.
            Err(cause) if cause.raw_os_error() == Some(libc::EINVAL) => {
                Err(DropReason::InnerVersion)
            }
            Err(_) => Err(DropReason::InterfaceDown),
        }
    }

    /// What the path to the peer carries: as configured, or less if the kernel has learned so
    /// lately.
    pub(super) fn outer_mtu(&self, now: Stamp) -> u16 {
        let learned = self.path_mtu.load(Ordering::Relaxed);
        if learned == 0 || now >= self.path_mtu_until.load(Ordering::Relaxed) {
            self.spec.outer_mtu
        } else {
            learned.min(self.spec.outer_mtu)
        }
    }

    /// Believes a smaller outer MTU for a while. Returns whether it is news.
    pub(super) fn learn_path_mtu(&self, outer_mtu: u16, now: Stamp) -> bool {
        let news = self.outer_mtu(now) > outer_mtu;
        let age = u64::try_from(PATH_MTU_AGE.as_millis()).unwrap_or(u64::MAX);
        self.path_mtu_until
            .store(now.saturating_add(age), Ordering::Relaxed);
        self.path_mtu.store(outer_mtu, Ordering::Relaxed);
        news
    }

    pub(super) fn forget_path_mtu(&self) {
        self.path_mtu.store(0, Ordering::Relaxed);
    }

    pub(super) fn set_inner_mtu(&self, mtu: u16) {
        self.inner_mtu.store(mtu, Ordering::Relaxed);
    }

    /// What the MSS of connections through the tunnel is clamped to; `None` if it is not.
    pub(super) fn clamp_to(&self) -> Option<u16> {
        let mtu = self.inner_mtu.load(Ordering::Relaxed);
        (self.spec.mss_clamp && mtu > 0).then_some(mtu)
    }

    pub(super) fn counters(&self, clock: Clock) -> TunnelCounters {
        let last = |traffic: &Traffic| clock.instant(traffic.last.load(Ordering::Relaxed));
        TunnelCounters {
            packets_in: self.inbound.packets.load(Ordering::Relaxed),
            bytes_in: self.inbound.bytes.load(Ordering::Relaxed),
            packets_out: self.outbound.packets.load(Ordering::Relaxed),
            bytes_out: self.outbound.bytes.load(Ordering::Relaxed),
            drops: self.drops.snapshot(),
            last_inbound: last(&self.inbound),
            last_outbound: last(&self.outbound),
        }
    }
}

impl AsFd for Tunnel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tun.as_fd()
    }
}

fn open_error(cause: io::Error) -> Error {
    match cause.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Error::NotPermitted {
            action: "open /dev/net/tun",
            capability: "CAP_NET_ADMIN",
        },
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => Error::NoTun { cause },
        _ => Error::System {
            action: "open /dev/net/tun",
            cause,
        },
    }
}

fn create_error(cause: io::Error, interface: &str) -> Error {
    let action = "create a tunnel interface";
    match cause.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Error::NotPermitted {
            action,
            capability: "CAP_NET_ADMIN",
        },
        Some(libc::EBUSY | libc::EEXIST) => Error::InterfaceExists {
            interface: interface.to_owned(),
        },
        _ => Error::System { action, cause },
    }
}
