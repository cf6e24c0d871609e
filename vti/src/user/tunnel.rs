//! A tunnel: its TUN interface and what it has carried.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use esp::{DropCounters, DropReason};

use super::offloads::TunOffload;
use super::vnet::{self, Vnet};
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
    pub(super) fn count(&self, packets: usize, bytes: usize, now: Stamp) {
        self.packets.fetch_add(packets as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.last.store(now, Ordering::Relaxed);
    }
}

/// A tunnel. Its interface exists as long as this does.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) spec: TunnelSpec,
    tun: File,
    /// What the kernel leaves undone on packets and takes unfinished.
    pub(super) offload: TunOffload,
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
    pub(super) fn create(spec: &TunnelSpec, most: TunOffload) -> Result<Self, Error> {
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
        let (tun, offload) = open_interface(name, most)?;
        Ok(Self {
            spec: spec.clone(),
            tun,
            offload,
            inbound: Traffic::default(),
            outbound: Traffic::default(),
            drops: DropCounters::default(),
            inner_mtu: AtomicU16::new(0),
            path_mtu: AtomicU16::new(0),
            path_mtu_until: AtomicU64::new(0),
        })
    }

    /// The next packet that the host has routed into the tunnel, at the beginning of the buffer, and what is left to be
    /// done to it. A packet longer than the buffer is cut short.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<(usize, Result<Vnet, DropReason>)> {
        if self.offload == TunOffload::None {
            return Ok(((&self.tun).read(buffer)?, Ok(Vnet::default())));
        }
        let mut header = [0; vnet::LEN];
        let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(buffer)];
        let read = (&self.tun).read_vectored(&mut parts)?;
        Ok((read.saturating_sub(vnet::LEN), Vnet::parse(header)))
    }

    /// Hands a packet to the host, as if it had arrived on the interface.
    pub(super) fn deliver(&self, packet: &[u8]) -> Result<(), DropReason> {
        if self.offload == TunOffload::None {
            return delivered((&self.tun).write(packet));
        }
        self.deliver_parts(&[IoSlice::new(&Vnet::COMPLETE), IoSlice::new(packet)])
    }

    /// Hands a packet in several parts to the host, the first of which is its [`Vnet`] header.
    pub(super) fn deliver_parts(&self, parts: &[IoSlice<'_>]) -> Result<(), DropReason> {
        delivered((&self.tun).write_vectored(parts))
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

/// Creates the interface with as many offloads as are wanted and the kernel knows.
fn open_interface(name: &str, most: TunOffload) -> Result<(File, TunOffload), Error> {
    let open = |vnet| {
        let file = tun::open().map_err(open_error)?;
        match tun::create(&file, name, vnet) {
            Ok(()) => Ok(Some(file)),
            Err(cause) if vnet && cause.raw_os_error() == Some(libc::EINVAL) => Ok(None),
            Err(cause) => Err(create_error(cause, name)),
        }
    };
    let with_header = if most > TunOffload::None {
        open(true)?
    } else {
        None
    };
    let Some(file) = with_header else {
        said(name, TunOffload::None);
        return open(false)?.map_or_else(
            || {
                Err(create_error(
                    io::Error::from_raw_os_error(libc::EINVAL),
                    name,
                ))
            },
            |file| Ok((file, TunOffload::None)),
        );
    };
    // Of the last step nothing is asked, so it cannot be refused.
    let offload = TunOffload::STEPS
        .into_iter()
        .filter(|step| *step <= most)
        .find(|step| tun::set_offload(&file, step.features()).is_ok())
        .unwrap_or(TunOffload::Header);
    said(name, offload);
    Ok((file, offload))
}

fn said(interface: &str, offload: TunOffload) {
    tracing::info!(interface, "segmentation offload: {offload}");
}

fn delivered(result: io::Result<usize>) -> Result<(), DropReason> {
    match result {
        Ok(_) => Ok(()),
        // EIO: the interface is down. EINVAL: the kernel does not take it for an IP packet.
        Err(cause) if cause.raw_os_error() == Some(libc::EINVAL) => Err(DropReason::InnerVersion),
        Err(_) => Err(DropReason::InterfaceDown),
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
