//! Routes of the site's own.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

/// A route that the file sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Route {
    /// The line of the file on which it begins (from 1).
    pub line: usize,
    /// The destination; there is one route to each.
    pub prefix: IpNet,
    /// The way there.
    pub way: Way,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Nowhere: packets are dropped in silence.
    Blackhole,
    /// To a router on one of our networks, of the destination's family.
    Via {
        /// The router.
        address: IpAddr,
        /// The interface that it is on.
        interface: String,
    },
}
