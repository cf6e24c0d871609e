//! What others change on this host, as a stream of events: interfaces, addresses, routes, nexthop
//! objects.
//!
//! Events that arrive together are merged: the last state of an interface counts, and a thousand
//! changed routes are one event. They say where to look again, not what to believe: the receiver
//! calls [`crate::host::Reconciler::invalidate`] and reconciles. The kernel does not report everything:
//! an interface that goes down takes its nexthop objects and their routes along in silence, so
//! [`HostEvent::LinkChanged`] is a reason to look at these as well.

use std::{collections::BTreeMap, io};

use netlink_sys::{Socket as RawSocket, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt};
use serde::Serialize;
use tokio::io::{Interest, unix::AsyncFd};

use crate::{
    host::{Error, errno_of},
    ifname::IfName,
    link,
    netlink::{Answer, answers},
    nexthop,
    plan::ROUTE_PROTOCOL,
    route::{self, Told},
};

/// The multicast groups of linux/rtnetlink.h that we listen to: links, IPv4 and IPv6 addresses, IPv4 and IPv6
/// routes, IPv4 and IPv6 settings (forwarding, route filter), nexthop objects.
const GROUPS: [u32; 8] = [1, 5, 9, 7, 11, 24, 25, 32];
/// Old kernels do not have this one.
const RTNLGRP_NEXTHOP: u32 = 32;
/// Told when forwarding or the route filter is switched (linux/rtnetlink.h).
const RTM_NEWNETCONF: u16 = 80;

/// Room for a burst of some thousands of notifications.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Datagrams read in one go before the events are handed out.
const DRAIN: usize = 4096;
/// The same after an overrun: more than the receive buffer can hold.
const DRAIN_AFTER_OVERRUN: usize = 1 << 17;

/// Something on the host changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum HostEvent {
    /// An interface appeared, went, or changed.
    LinkChanged {
        /// The interface.
        dev: IfName,
        /// Its present state; `None` if it is gone.
        state: Option<LinkState>,
    },
    /// Addresses appeared or went.
    AddressChanged {
        /// The interface, if it still has a name.
        dev: Option<IfName>,
    },
    /// Routes or nexthop objects changed.
    RouteChanged {
        /// Some carry our mark: somebody else meddles with them.
        ours: bool,
    },
    /// Forwarding or the route filter was switched, for an interface or for all.
    SettingChanged,
    /// Events were lost because nobody fetched them in time: everything may have changed.
    Overrun,
}

/// The state of an interface that decides whether it can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LinkState {
    /// Administratively up.
    pub up: bool,
    /// It has a carrier.
    pub carrier: bool,
    /// Its MTU in bytes.
    pub mtu: u32,
}

/// The source of [`HostEvent`]s.
#[derive(Debug)]
pub struct Monitor {
    socket: AsyncFd<RawSocket>,
    ignored: Vec<u32>,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Listens from now on, in the network namespace of the calling thread, within a tokio runtime. What
    /// the sockets with the port numbers `ignored` change is left out: see
    /// [`crate::kernel::KernelHost::port`].
    ///
    /// # Errors
    /// The socket can't be opened.
    pub fn open(ignored: &[u32]) -> Result<Self, Error> {
        let mut socket = RawSocket::new(NETLINK_ROUTE).map_err(|e| Error::socket("open it", &e))?;
        socket
            .bind_auto()
            .map_err(|e| Error::socket("bind it", &e))?;
        enlarge(&socket);
        for group in GROUPS {
            match socket.add_membership(group) {
                Err(e) if group != RTNLGRP_NEXTHOP => return Err(Error::socket("listen", &e)),
                _ => {}
            }
        }
        socket
            .set_non_blocking(true)
            .map_err(|e| Error::socket("set it up", &e))?;
        let socket = watch(socket).map_err(|e| Error::socket("watch it", &e))?;
        Ok(Self {
            socket,
            ignored: ignored.to_vec(),
            buffer: Vec::with_capacity(1 << 16),
        })
    }

    /// Waits until something changes, and returns all that has changed: at least one event. Safe to
    /// cancel: nothing is lost.
    ///
    /// # Errors
    /// The socket is broken.
    pub async fn events(&mut self) -> Result<Vec<HostEvent>, Error> {
        loop {
            let mut ready = self
                .socket
                .readable()
                .await
                .map_err(|e| Error::socket("wait", &e))?;
            let mut merged = Merged::default();
            let drained = drain(
                self.socket.get_ref(),
                &mut self.buffer,
                &self.ignored,
                &mut merged,
            );
            match drained {
                Ok(Drained::Empty) => ready.clear_ready(),
                Ok(Drained::More) => {}
                Err(e) => {
                    return Err(Error::Socket {
                        doing: "read it",
                        errno: errno_of(&e),
                    });
                }
            }
            let events = merged.into_events();
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "its caveat is a descriptor that changes or closes while it is registered; this socket owns its own"
)]
fn watch(socket: RawSocket) -> io::Result<AsyncFd<RawSocket>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// Beyond the system's limit if we may, up to it if not.
fn enlarge(socket: &RawSocket) {
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        // The default size does too, with an overrun now and then.
        let _ = socket.set_rx_buf_sz(i32::try_from(RECEIVE_BUFFER).unwrap_or(i32::MAX));
    }
}

enum Drained {
    Empty,
    More,
}

fn drain(
    socket: &RawSocket,
    buffer: &mut Vec<u8>,
    ignored: &[u32],
    merged: &mut Merged,
) -> io::Result<Drained> {
    let mut rounds = 0;
    // What is queued behind an overrun is older than the look that the overrun calls for.
    while rounds < DRAIN || merged.overrun && rounds < DRAIN_AFTER_OVERRUN {
        rounds += 1;
        buffer.clear();
        match socket.recv_from(buffer, 0) {
            Ok(_) => answers(buffer)
                .filter(|answer| answer.port == 0 || !ignored.contains(&answer.port))
                .for_each(|answer| merged.add(&answer)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Drained::Empty),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => merged.overrun = true,
            Err(e) => return Err(e),
        }
    }
    Ok(Drained::More)
}

/// What changed since the last look.
#[derive(Debug, Default)]
struct Merged {
    links: BTreeMap<IfName, Option<LinkState>>,
    addresses: Vec<u32>,
    /// Of others, of ours.
    routes: (bool, bool),
    settings: bool,
    overrun: bool,
}

impl Merged {
    fn add(&mut self, answer: &Answer<'_>) {
        match answer.kind {
            link::RTM_NEWLINK | link::RTM_DELLINK => {
                let Some((dev, link)) = link::read(answer) else {
                    return;
                };
                let state = LinkState {
                    up: link.up,
                    carrier: link.carrier,
                    mtu: link.mtu,
                };
                let is_there = answer.kind == link::RTM_NEWLINK;
                self.links.insert(dev, is_there.then_some(state));
            }
            link::RTM_NEWADDR | link::RTM_DELADDR => {
                if let Some((index, _)) = link::read_ifaddr(answer)
                    && !self.addresses.contains(&index)
                {
                    self.addresses.push(index);
                }
            }
            route::RTM_NEWROUTE | route::RTM_DELROUTE => {
                if let Some(told) = Told::read(answer) {
                    self.route(told.protocol);
                }
            }
            nexthop::RTM_NEWNEXTHOP | nexthop::RTM_DELNEXTHOP => {
                if let Some(told) = nexthop::read(answer) {
                    self.route(told.protocol);
                }
            }
            RTM_NEWNETCONF => self.settings = true,
            _ => {}
        }
    }

    fn route(&mut self, protocol: u8) {
        match protocol {
            ROUTE_PROTOCOL => self.routes.1 = true,
            _ => self.routes.0 = true,
        }
    }

    /// An overrun makes all else superfluous.
    fn into_events(self) -> Vec<HostEvent> {
        if self.overrun {
            return vec![HostEvent::Overrun];
        }
        let links = self
            .links
            .into_iter()
            .map(|(dev, state)| HostEvent::LinkChanged { dev, state });
        let addresses = self.addresses.into_iter().map(|index| {
            let name = nix::net::if_::if_indextoname(index).ok();
            let dev = name.and_then(|name| name.to_str().ok()?.parse().ok());
            HostEvent::AddressChanged { dev }
        });
        let routes = [(self.routes.0, false), (self.routes.1, true)];
        let routes = routes.into_iter().filter(|(changed, _)| *changed);
        let routes = routes.map(|(_, ours)| HostEvent::RouteChanged { ours });
        let settings = self.settings.then_some(HostEvent::SettingChanged);
        links
            .chain(addresses)
            .chain(routes)
            .chain(settings)
            .collect()
    }
}
