//! Whether this kernel can be a data plane: asked by trying, because neither a version nor a module's name says what a kernel does.

use std::net::{IpAddr, Ipv4Addr};

use crypto::{Secret, Suite};
use nix::errno::Errno;

use super::kernel::gone;
use super::reason::{About, Reason};
use crate::ifname::IfName;
use crate::netlink::{self, Message};
use crate::plan::LinkKind;
use crate::plane::{BINDINGS, Binding, Direction};
use crate::xfrm::state::UdpPorts;
use crate::xfrm::{Lifetime, NewState, Refusal, Replay, SaId, Socket};
use crate::{link, linkinfo};

/// What the kernel can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whether states and policies can be read at all.
    pub xfrm: Result<(), Reason>,
    /// Whether it makes `xfrm` interfaces.
    pub xfrm_interface: Result<(), Reason>,
    /// Whether it makes `vti` interfaces.
    pub vti: Result<(), Reason>,
    /// Whether it takes an SA of each suite that was asked for, in that order.
    pub suites: Vec<(Suite, Result<(), Reason>)>,
}

/// What an SA will be like, as far as kernels differ in what they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The anti-replay window, in packets.
    pub replay_window: u32,
    /// Whether sequence numbers are extended.
    pub esn: bool,
}

/// The number that the probe's objects carry: the last of ours, which no tunnel has (its reqid would be 65535).
const NUMBER: u32 = *BINDINGS.end();

/// Documentation addresses (RFC 5737, TEST-NET-2), which lead nowhere.
const NOWHERE: [Ipv4Addr; 2] = [
    Ipv4Addr::new(198, 51, 100, 253),
    Ipv4Addr::new(198, 51, 100, 254),
];

/// The name that the probe's interface has for a moment.
const INTERFACE: &str = "causeway-probe";

/// Tries. Nothing that it makes can carry a packet of anybody's, and nothing of it is left. Needs CAP_NET_ADMIN in the network
/// namespace of the calling thread; takes a few milliseconds, seconds where the kernel has to load modules.
#[must_use]
pub fn probe(suites: &[Suite], wanted: Wanted) -> Probe {
    let xfrm = Socket::open().and_then(|mut socket| {
        socket.states()?;
        socket.policies()?;
        Ok(socket)
    });
    let refused = |refusal: &Refusal| Reason::of("use XFRM", About::Xfrm, refusal);
    let (xfrm, suites) = match xfrm {
        Ok(mut socket) => {
            let tried = suites
                .iter()
                .map(|&suite| (suite, try_suite(&mut socket, suite, wanted)))
                .collect();
            (Ok(()), tried)
        }
        Err(refusal) => {
            let failed = suites.iter().map(|&suite| (suite, Err(refused(&refusal))));
            (Err(refused(&refusal)), failed.collect())
        }
    };
    let [local, remote] = NOWHERE;
    let vti = LinkKind::Vti {
        key: NUMBER,
        local: Some(local),
        remote,
    };
    Probe {
        xfrm,
        xfrm_interface: try_interface("xfrm", LinkKind::Xfrm { if_id: NUMBER }),
        vti: try_interface("vti", vti),
        suites,
    }
}

/// One SA for each direction and each kind of encapsulation.
fn try_suite(socket: &mut Socket, suite: Suite, wanted: Wanted) -> Result<(), Reason> {
    // Keys that nobody guards, for SAs that nothing can use.
    let keymat = Secret::new(vec![0x5a; suite.keymat_len()]);
    let integrity = Secret::new(vec![0xa5; suite.integrity_key_len()]);
    let udp = UdpPorts {
        source: 4500,
        destination: 4500,
    };
    for (spi, direction, encap) in [
        (0x0000_1001, Direction::Inbound, None),
        (0x0000_1002, Direction::Inbound, Some(udp)),
        (0x0000_1003, Direction::Outbound, None),
        (0x0000_1004, Direction::Outbound, Some(udp)),
    ] {
        let [here, there] = NOWHERE.map(IpAddr::V4);
        let (source, destination) = match direction {
            Direction::Inbound => (there, here),
            Direction::Outbound => (here, there),
        };
        let mut state = NewState {
            id: SaId { destination, spi },
            source,
            reqid: NUMBER & 0xffff,
            binding: Binding::Mark(NUMBER),
            direction,
            name_direction: true,
            suite,
            keymat: &keymat,
            integrity: &integrity,
            esn: wanted.esn,
            window: wanted.replay_window,
            replay: Replay::default(),
            encap,
            lifetime: Lifetime::default(),
            copy_dscp: false,
            output_mark: None,
            mapping_interval: Some(10),
            offload: None,
        };
        let delete = |socket: &mut Socket, state: &NewState<'_>| {
            gone(socket.delete_state(state.id, state.binding))
        };
        // What a probe left that was interrupted.
        let _ = delete(socket, &state);
        let mut added = socket.add_state(&state);
        if added.as_ref().is_err_and(|it| it.errno == Errno::EINVAL) {
            state.name_direction = false;
            added = socket.add_state(&state);
        }
        let outcome = added.and_then(|()| delete(socket, &state));
        outcome.map_err(|refusal| {
            Reason::of(
                format!("add an SA with {suite}"),
                About::Sa(suite),
                &refusal,
            )
        })?;
    }
    Ok(())
}

/// Makes an interface as the reconciler would, down and without addresses, and deletes it.
fn try_interface(name: &'static str, kind: LinkKind) -> Result<(), Reason> {
    let tried = || -> Result<(), Refusal> {
        let mut socket = netlink::Socket::open()
            .map_err(|error| Refusal::from(error.errno().unwrap_or(Errno::EIO)))?;
        let mut execute = |request: Message| socket.ask(&request, |_| Some(())).map(drop);
        let dev = INTERFACE.parse::<IfName>().map_err(|_| Errno::EINVAL)?;
        let below = link::loopback().unwrap_or_default();
        let add = linkinfo::add(dev, kind, below).ok_or(Errno::EINVAL)?;
        // What a probe left that was interrupted.
        let _ = execute(linkinfo::delete(dev));
        execute(add)?;
        execute(linkinfo::delete(dev))
    };
    tried().map_err(|refusal| {
        let what = format!("make a {name} interface");
        Reason::of(what, About::Interface(name), &refusal)
    })
}
