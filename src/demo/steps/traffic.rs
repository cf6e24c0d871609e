//! Packets across: echoes, transfers, and connections to a service on three nodes.

use std::time::Duration;

use super::{Tour, Verified};
use crate::demo::probe::{Echo, Service, Transfer, spread, transfer};
use crate::demo::problem::{Problem, verify};
use crate::demo::topology::{Place, at};

/// Echoes in a series.
const ECHOES: u32 = 10;
/// How long the first echo may take: ARP, and connections that are tracked.
const FIRST: Duration = Duration::from_secs(5);
/// How long each transfer goes on.
const TRANSFER: Duration = Duration::from_millis(1500);
/// Connections to the service.
const CONNECTIONS: usize = 90;

/// Pings the cloud's ends of the tunnels from the gateway, and host to host in both directions.
pub(super) fn ping(tour: &mut Tour) -> Result<Verified, Problem> {
    let topology = tour.topology()?;
    let [first, second] = at::INSIDE;
    let pairs = [
        (Place::Gateway, first, "gateway to 10.1.0.1"),
        (Place::Gateway, second, "gateway to 10.2.0.1"),
        (Place::Home, at::INSTANCE, "192.168.2.250 to 10.0.0.9"),
        (Place::Instance, at::HOME, "10.0.0.9 to 192.168.2.250"),
    ];
    let mut verified = Verified::new(format!("{ECHOES} of {ECHOES} echoes, four times"));
    for (from, to, what) in pairs {
        tour.progress.note(what);
        let trips = Echo::open(topology.at(from), to)?.series(&tour.stop, FIRST, ECHOES)?;
        verified.lines.push(format!("{what}: {trips}"));
    }
    Ok(verified)
}

/// Transfers in both directions.
pub(super) fn transfers(tour: &mut Tour) -> Result<Verified, Problem> {
    let topology = tour.topology()?;
    let (home, instance) = (topology.at(Place::Home), topology.at(Place::Instance));
    tour.progress.note("home to cloud");
    let out = transfer(&tour.stop, home, (instance, at::INSTANCE), TRANSFER)?;
    tour.progress.note("cloud to home");
    let back = transfer(&tour.stop, instance, (home, at::HOME), TRANSFER)?;
    let line = |what: &str, done: &Transfer| {
        let megabytes = done.octets as f64 / 1e6;
        format!(
            "{what}: {megabytes:.1} MB in {:.2} s, {:.0} Mbit/s",
            done.took.as_secs_f64(),
            done.megabits()
        )
    };
    Ok(Verified::new(format!(
        "{:.0} and {:.0} Mbit/s, unharmed",
        out.megabits(),
        back.megabits()
    ))
    .line(line("home to cloud", &out))
    .line(line("cloud to home", &back))
    .number("out_megabits_per_second", out.megabits().round())
    .number("back_megabits_per_second", back.megabits().round()))
}

/// Connects many times to the address that every node announces; every node has to get its share.
pub(super) fn ecmp(tour: &mut Tour) -> Result<Verified, Problem> {
    let topology = tour.topology()?;
    let services =
        Place::NODES.map(|node| Service::start(topology.at(node), at::SERVICE, node.name()));
    let services: Vec<Service> = services.into_iter().collect::<Result<_, _>>()?;
    let answers = spread(
        &tour.stop,
        topology.at(Place::Home),
        at::SERVICE,
        CONNECTIONS,
    )?;
    drop(services);
    let shares: Vec<String> = answers
        .iter()
        .map(|(node, count)| format!("{node} {count}"))
        .collect();
    let shares = shares.join(", ");
    verify(answers.len() == Place::NODES.len(), || {
        format!("not all nodes were reached: {shares}")
    })?;
    Ok(Verified::new(shares).line(format!(
        "{CONNECTIONS} connections from home to {}",
        at::SERVICE
    )))
}
