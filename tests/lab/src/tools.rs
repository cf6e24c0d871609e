//! What the bench asks of the machine: that programs are there, and what the kernel's tables hold.

use std::path::Path;

use serde_json::Value;

use crate::netns::Ns;
use crate::wait::OrFail;

/// Makes sure that programs are on this machine.
///
/// # Panics
/// When one is not: the message says how to get it. A test never passes by being skipped.
#[track_caller]
pub fn require(programs: &[&str]) {
    let path = std::env::var("PATH").unwrap_or_default();
    for program in programs {
        let there = Path::new(program).is_absolute() && Path::new(program).exists()
            || path
                .split(':')
                .any(|dir| Path::new(dir).join(program).is_file());
        assert!(
            there,
            "{program} is not on this machine: run scripts/install-test-deps.sh"
        );
    }
}

/// Makes sure that this is a kernel with ESP, VTI and xfrm interfaces.
///
/// # Panics
/// Outside the virtual machine: the message says how to run the test inside.
#[track_caller]
pub fn require_kernel_esp() {
    assert!(
        std::env::var_os("CAUSEWAY_LAB_VM").is_some(),
        "this test needs a kernel with ESP and runs in the virtual machine: cargo nextest run --test in_vm NAME"
    );
}

/// The SPIs of all of ESP's SAs in a namespace's kernel, in hexadecimal without `0x`, sorted.
#[track_caller]
#[must_use]
pub fn esp_spis(ns: &Ns) -> Vec<String> {
    let states = ns.exec(&["ip", "xfrm", "state"]);
    let mut spis: Vec<String> = states
        .lines()
        .filter_map(|line| line.trim().strip_prefix("proto esp spi 0x"))
        .filter_map(|rest| rest.split_whitespace().next().map(str::to_owned))
        .collect();
    spis.sort();
    spis
}

/// One route of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The destination, as `ip` writes it: `default`, `10.0.0.0/16`, a host without `/32`.
    pub destination: String,
    /// The route protocol, by name or number.
    pub protocol: String,
    /// The next hops: gateway (or nothing, for one that is on the link) and interface, sorted.
    pub next_hops: Vec<(Option<String>, String)>,
    /// The metric, where it is not 0.
    pub metric: Option<u64>,
}

/// The IPv4 routes of the main table, sorted. A route by way of a nexthop object shows the hops that it resolves to.
#[track_caller]
#[must_use]
pub fn kernel_routes(ns: &Ns) -> Vec<Route> {
    routes_of(ns, "-4")
}

#[track_caller]
fn routes_of(ns: &Ns, family: &str) -> Vec<Route> {
    let routes = json(&ns.exec(&["ip", "-j", family, "route", "show", "table", "main"]));
    let refers = items(&routes).any(|route| !route["nhid"].is_null());
    let objects = if refers {
        json(&ns.exec(&["ip", "-j", "nexthop", "show"]))
    } else {
        Value::Null
    };
    let mut routes: Vec<_> = items(&routes).map(|route| read(route, &objects)).collect();
    routes.sort();
    routes
}

/// The route to exactly this destination, of either family.
#[track_caller]
#[must_use]
pub fn kernel_route(ns: &Ns, destination: &str) -> Option<Route> {
    let (family, host) = match destination.contains(':') {
        true => ("-6", "/128"),
        false => ("-4", "/32"),
    };
    let destination = destination.strip_suffix(host).unwrap_or(destination);
    routes_of(ns, family)
        .into_iter()
        .find(|route| route.destination == destination)
}

/// `ip -j` prints nothing at all for an empty table.
fn json(text: &str) -> Value {
    if text.trim().is_empty() {
        return Value::Null;
    }
    serde_json::from_str(text).or_fail("read what `ip -j` prints")
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn read(route: &Value, objects: &Value) -> Route {
    let mut next_hops = Vec::new();
    if let Some(hops) = route["nexthops"].as_array() {
        next_hops.extend(hops.iter().map(hop));
    } else if !route["dev"].is_null() {
        next_hops.push(hop(route));
    } else if !route["nhid"].is_null() {
        resolve(&route["nhid"], objects, &mut next_hops);
    }
    next_hops.sort();
    Route {
        destination: string(&route["dst"]),
        protocol: string(&route["protocol"]),
        next_hops,
        metric: route["metric"].as_u64(),
    }
}

/// The hops of a nexthop object, or of the members of a group.
fn resolve(id: &Value, objects: &Value, hops: &mut Vec<(Option<String>, String)>) {
    let Some(object) = items(objects).find(|object| object["id"] == *id) else {
        return;
    };
    if object["group"].is_null() {
        hops.push(hop(object));
    }
    for member in items(&object["group"]) {
        resolve(&member["id"], objects, hops);
    }
}

fn hop(value: &Value) -> (Option<String>, String) {
    // A gateway of the other address family is written as an object.
    let gateway = value["gateway"].as_str().or(value["via"]["host"].as_str());
    (gateway.map(ToOwned::to_owned), string(&value["dev"]))
}

fn string(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
