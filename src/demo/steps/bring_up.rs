//! From an empty machine to tunnels and BGP sessions.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use socket2::{Domain, Protocol, Socket, Type};
use vti::netns::NetNs;
use vti::nft::Firewall;

use super::{Tour, Verified};
use crate::demo::daemon::Daemon;
use crate::demo::probe::Echo;
use crate::demo::problem::{Problem, verify};
use crate::demo::site;
use crate::demo::status::{Status, Tunnel};
use crate::demo::topology::{Place, Topology, at};
use crate::demo::workspace::{Workspace, sweep};

const CAPABILITIES: &str = "a container needs --privileged, or --cap-add NET_ADMIN,NET_RAW,SYS_ADMIN and a writable /run and /proc/sys";
const TUN: &str =
    "load the module (modprobe tun), or give the container the device (--device /dev/net/tun)";
const NF_TABLES: &str = "load the module (modprobe nf_tables); a kernel needs CONFIG_NF_TABLES";
const VETH: &str =
    "load the modules (modprobe veth bridge); a kernel needs CONFIG_VETH and CONFIG_BRIDGE";

/// How long a daemon may take to answer for the first time.
const START: Duration = Duration::from_secs(10);
/// How long tunnels may take.
const TUNNELS: Duration = Duration::from_secs(20);
/// How long sessions may take once the tunnels are up.
const SESSIONS: Duration = Duration::from_secs(30);

/// The two tunnels by their names in the reference site, and where they end.
pub(super) const ENDS: [(&str, Place); 2] = [("oci-1", Place::Drg1), ("oci-2", Place::Drg2)];

/// Looks whether everything that the demo needs is there, by using it in a namespace of its own.
pub(super) fn machine(tour: &mut Tour) -> Result<Verified, Problem> {
    if !geteuid().is_root() {
        return Err(Problem::Missing {
            what: "only root may make network namespaces".into(),
            how: as_root().into(),
        });
    }
    let device = File::options().read(true).write(true).open("/dev/net/tun");
    device.map_err(missing("/dev/net/tun cannot be opened", TUN))?;
    let swept = sweep()?;
    let workspace = tour.workspace.insert(Workspace::create()?);
    let trial = NetNs::create(&format!("{}trial", workspace.prefix()));
    let trial = trial.map_err(missing("no network namespace can be made", CAPABILITIES))?;
    let raw = trial.run(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)))?;
    raw.map_err(missing("no raw socket can be opened", CAPABILITIES))?;
    let firewall = trial.run(|| Firewall::open().and_then(|mut firewall| firewall.generation()))?;
    firewall.map_err(missing("nf_tables cannot be used", NF_TABLES))?;
    trial
        .veth("a", (&trial, "b"))
        .map_err(missing("no veth pair can be made", VETH))?;
    trial
        .bridge("bridge", &["a"])
        .map_err(missing("no bridge can be made", VETH))?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let verified = Verified::new(format!(
        "Linux {}: root, TUN, namespaces, nf_tables",
        kernel.trim()
    ));
    Ok(match swept {
        0 => verified,
        count => verified.line(format!("swept what {count} killed demos had left behind")),
    })
}

/// How to start the demo as root. Somebody who has just built it has no `causeway` in PATH, and sudo has a PATH of its own.
fn as_root() -> String {
    let called = std::env::args().next().unwrap_or_default();
    let program = if called.contains('/') {
        called
    } else {
        std::env::current_exe().map_or(called, |path| path.display().to_string())
    };
    format!("run it as root: sudo {program} demo")
}

fn missing<E: std::fmt::Display>(
    what: &'static str,
    how: &'static str,
) -> impl FnOnce(E) -> Problem {
    move |error| Problem::Missing {
        what: format!("{what} ({error})"),
        how: how.into(),
    }
}

/// Builds the namespaces, and sees that the internet carries packets.
pub(super) fn network(tour: &mut Tour) -> Result<Verified, Problem> {
    let topology = Topology::build(tour.workspace()?.prefix())?;
    let topology = tour.topology.insert(topology);
    for to in at::DRGS.into_iter().chain([at::STRANGER]) {
        let mut echo = Echo::open(topology.at(Place::Gateway), to)?;
        echo.series(&tour.stop, Duration::from_secs(3), 1)?;
    }
    let (namespaces, cables) = topology.size();
    Ok(Verified::new(format!("{namespaces} namespaces, {cables} cables"))
        .line("home 192.168.2.250 - gateway 203.0.113.10 - internet - DRGs 198.51.100.1, .2 - instance 10.0.0.9")
        .line("nodes 192.168.200.31, .32, .33 on the gateway's VLAN 200, all with 172.16.200.1"))
}

/// Writes the site files, starts the daemons and waits until each answers.
pub(super) fn daemons(tour: &mut Tour) -> Result<Verified, Problem> {
    let workspace = tour.workspace()?;
    let mut folders = Vec::new();
    for place in Place::DAEMONS {
        let dir = workspace.folder(place.name())?;
        if let Some(text) = site::text(place, &dir) {
            let path = dir.join("site.toml");
            fs::write(&path, text).map_err(Problem::system(format!("write {}", path.display())))?;
        }
        folders.push((place, dir));
    }
    for (tunnel, end) in ENDS {
        let ours = workspace
            .folder(Place::Gateway.name())?
            .join(format!("{tunnel}.psk"));
        site::make_key(&[ours, workspace.folder(end.name())?.join("home.psk")])?;
    }
    for (place, dir) in &folders {
        let daemon = Daemon::start(*place, tour.topology()?.at(*place), dir)?;
        tour.daemons.insert(*place, daemon);
    }
    for place in Place::DAEMONS {
        wait_until_it_answers(tour, place)?;
    }
    let gateway = tour.daemon(Place::Gateway)?;
    let status = gateway.status()?;
    verify(status.firewall.failure.is_none(), || {
        format!(
            "the gateway's firewall: {}",
            status.firewall.failure.unwrap_or_default()
        )
    })?;
    Ok(Verified::new(format!(
        "{} daemons, {} data plane",
        tour.daemons.len(),
        status.data_plane.kind
    ))
    .line("the gateway runs examples/reference-site.toml, with keys made for this demo"))
}

/// Waits for a daemon's first answer. A daemon that has ended won't give any.
pub(super) fn wait_until_it_answers(tour: &mut Tour, place: Place) -> Result<(), Problem> {
    let start = Instant::now();
    loop {
        let daemon = tour.daemons.get_mut(&place);
        let Some(daemon) = daemon else {
            return tour.daemon(place).map(drop);
        };
        if let Some(end) = daemon.end() {
            return Err(Problem::Unverified(format!(
                "the daemon of {} has ended: {end}",
                place.name()
            )));
        }
        match daemon.status() {
            Ok(_) => return Ok(()),
            Err(problem) if start.elapsed() > START => return Err(problem),
            Err(_) => {
                tour.progress.note(place.name());
                tour.stop.pause(Duration::from_millis(10))?;
            }
        }
    }
}

/// Waits for both tunnels; both ends have to name the same SAs.
pub(super) fn tunnels(tour: &mut Tour) -> Result<Verified, Problem> {
    let gateway = tour.daemon(Place::Gateway)?;
    let mut verified = Verified::default();
    for (name, end) in ENDS {
        let far = tour.daemon(end)?;
        let (line, suite) = tour.until("the tunnels", TUNNELS, || {
            let (near, far) = (gateway.status()?, far.status()?);
            Ok(agreed(name, near.tunnel(name), &far))
        })?;
        verified.figure = suite;
        verified.lines.push(line);
    }
    let resident = gateway.resident().unwrap_or_default();
    Ok(verified
        .line(format!(
            "the gateway's daemon holds {:.1} MiB of memory",
            resident as f64 / f64::from(1 << 20)
        ))
        .number("gateway_resident_octets", resident as f64))
}

/// What both ends say of a tunnel if they say the same, and the IKE suite; else what is missing.
pub(super) fn agreed(
    name: &str,
    near: Option<&Tunnel>,
    far: &Status,
) -> Result<(String, String), String> {
    let near = near.ok_or_else(|| format!("the gateway has no tunnel {name}"))?;
    let far = far.tunnel("home").ok_or("the DRG has no tunnel home")?;
    for (whose, tunnel) in [("gateway", near), ("DRG", far)] {
        if tunnel.state != "up" {
            let reason = tunnel.reason.as_deref().unwrap_or("it does not say why");
            return Err(format!(
                "{name} is {} at the {whose}: {reason}",
                tunnel.state
            ));
        }
    }
    let incomplete = || format!("{name} is up without SAs");
    let (ike, far_ike) = near
        .ike
        .as_ref()
        .zip(far.ike.as_ref())
        .ok_or_else(incomplete)?;
    let (child, far_child) = near.outbound().zip(far.outbound()).ok_or_else(incomplete)?;
    let same_ike = (&ike.initiator_spi, &ike.responder_spi)
        == (&far_ike.initiator_spi, &far_ike.responder_spi);
    let same_child = (&child.spi_in, &child.spi_out) == (&far_child.spi_out, &far_child.spi_in);
    if !same_ike || !same_child {
        return Err(format!("the ends of {name} are on different SAs"));
    }
    let line = format!(
        "{name} ({}, MTU {}) with {}: ESP {}, SPI in {} out {}",
        near.interface, near.mtu, ike.peer_identity, child.suite, child.spi_in, child.spi_out
    );
    Ok((line, format!("IKE {}", ike.suite)))
}

/// Waits until every session of every daemon is established.
pub(super) fn bgp(tour: &mut Tour) -> Result<Verified, Problem> {
    let places: Vec<(Place, &Daemon)> = tour
        .daemons
        .iter()
        .map(|(place, daemon)| (*place, daemon))
        .collect();
    tour.until("all BGP sessions", SESSIONS, || {
        for (place, daemon) in &places {
            if let Some(missing) = daemon.status()?.missing().first() {
                return Ok(Err(format!("{}: {missing}", place.name())));
            }
        }
        Ok(Ok(()))
    })?;
    let status = tour.daemon(Place::Gateway)?.status()?;
    let sessions = &status.bgp.neighbors;
    verify(sessions.len() == 5, || {
        format!("the gateway has {} neighbors, not 5", sessions.len())
    })?;
    let names: Vec<String> = sessions
        .iter()
        .map(|one| format!("{} AS {}", one.name, one.remote_asn))
        .collect();
    Ok(Verified::new(format!("{} sessions", sessions.len())).line(names.join(", ")))
}
