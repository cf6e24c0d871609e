//! The end: daemons stop by themselves and take off what was theirs, then namespaces and files go.

use std::fs;
use std::mem;

use super::{Tour, Verified};
use crate::demo::kernel;
use crate::demo::problem::{Problem, verify};
use crate::demo::topology::Place;
use crate::demo::workspace::daemons;
use vti::netns::NetNs;

/// Interfaces of the machine itself.
pub(super) fn interfaces() -> Vec<String> {
    let entries = fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// Takes everything down and looks whether it is gone. Not interrupted by anything.
pub(super) fn leave(tour: &mut Tour) -> Result<Verified, Problem> {
    if tour.workspace.is_none() {
        return Ok(Verified::new("nothing had been built"));
    }
    let running = mem::take(&mut tour.daemons);
    let count = running.len();
    running
        .values()
        .for_each(crate::demo::daemon::Daemon::ask_to_stop);
    let obstinate: Vec<&str> = running
        .into_iter()
        .filter_map(|(place, daemon)| (!daemon.stopped()).then(|| place.name()))
        .collect();
    // What is wrong is said at the end; nothing keeps the rest from being taken down.
    let left = gateway_leftovers(tour);
    let prefix = tour
        .workspace
        .as_ref()
        .map(|workspace| workspace.prefix().to_owned());
    let dir = tour
        .workspace
        .as_ref()
        .map(|workspace| workspace.dir().to_owned());
    let namespaces = tour.topology.take().map_or(0, |topology| topology.size().0);
    tour.workspace = None;

    // Whoever is interrupted while it starts can't be expected to leave in good order.
    if !tour.interrupted {
        verify(obstinate.is_empty(), || {
            format!("had to be killed: {}", obstinate.join(", "))
        })?;
        let left = left?;
        verify(left.is_empty(), || {
            format!("the gateway left behind: {}", left.join(", "))
        })?;
    }
    let names = prefix
        .map(|prefix| NetNs::names(&prefix))
        .unwrap_or_default();
    verify(names.is_empty(), || {
        format!("namespaces are left: {}", names.join(", "))
    })?;
    if let Some(dir) = dir {
        verify(!dir.exists(), || format!("{} is left", dir.display()))?;
        let processes = daemons(&dir);
        verify(processes.is_empty(), || {
            format!("processes are left: {processes:?}")
        })?;
    }
    verify(interfaces() == tour.interfaces, || {
        "the machine's own interfaces are not the same as before".into()
    })?;
    let verified = Verified::new(format!(
        "{count} daemons, {namespaces} namespaces and all files gone"
    ));
    Ok(match tour.interrupted {
        true => verified,
        false => verified.line("the gateway had taken off its interfaces, routes and rules before"),
    })
}

/// What the gateway's daemon has left in its namespace.
fn gateway_leftovers(tour: &Tour) -> Result<Vec<String>, Problem> {
    match (&tour.topology, &tour.workspace) {
        (Some(topology), Some(workspace)) => {
            kernel::leftovers(topology.at(Place::Gateway), workspace.dir())
        }
        _ => Ok(Vec::new()),
    }
}
