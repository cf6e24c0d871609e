//! Looks peers' DNS names up, on a thread of its own for each question: the host's resolver may take long, and the loop never waits.
//!
//! The gateway asks about a name only when the question before it was answered, so there is one thread for each such tunnel at most.

use std::fmt;
use std::net::{IpAddr, ToSocketAddrs as _};

use tokio::sync::mpsc;

use crate::gateway::Input;

/// The thread's stack: what resolves names may be a module of the host's.
const STACK: usize = 512 << 10;

/// What the tunnels run over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// Starts looking a name up. The answer comes as [`Input::Resolved`].
pub(crate) fn look_up(name: String, family: Family, told: mpsc::Sender<Input>) {
    let asked = name.clone();
    let answer = told.clone();
    let thread = std::thread::Builder::new()
        .name("resolver".into())
        .stack_size(STACK)
        .spawn(move || {
            let outcome = resolve(&name, family);
            // A loop that is gone does not want it.
            let _ = answer.blocking_send(Input::Resolved { name, outcome });
        });
    if let Err(error) = thread {
        let outcome = Err(format!("no thread can be started: {error}"));
        let failed = Input::Resolved {
            name: asked,
            outcome,
        };
        // The loop itself is here, so it may not wait. What is lost is asked again when the tunnel's patience is over.
        let _ = told.try_send(failed);
    }
}

/// The addresses of a family that a name has, in the order of the host's resolver (RFC 6724); never none.
fn resolve(name: &str, family: Family) -> Result<Vec<IpAddr>, String> {
    // Any port will do: only the addresses count.
    let found = (name, 500).to_socket_addrs().map_err(|error| {
        let text = error.to_string();
        let what = text.split_once(": ").map(|(_, what)| what.to_owned());
        what.unwrap_or(text)
    })?;
    let mut has_others = false;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found.map(|socket| socket.ip()) {
        if address.is_ipv4() != (family == Family::Ipv4) {
            has_others = true;
        } else if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    match (addresses.is_empty(), has_others) {
        (false, _) => Ok(addresses),
        (true, true) => Err(format!(
            "it has no {family} address, and the tunnels of this site run over {family}"
        )),
        (true, false) => Err("it has no address".into()),
    }
}
