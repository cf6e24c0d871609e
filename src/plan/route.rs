//! Routes of the site's own.

use std::net::IpAddr;

use config::model::{self, Way};
use ipnet::IpNet;

use super::StaticRoute;

/// The site's routes.
///
/// # Errors
/// An interface's name that the kernel would not take.
pub(super) fn routes(site: &model::Site) -> Result<Vec<StaticRoute>, String> {
    let route = |route: &model::Route| {
        let hop = match &route.way {
            Way::Blackhole => None,
            Way::Via { address, interface } => {
                let interface = interface.parse().map_err(|error| {
                    format!("route to {}: interface {interface}: {error}", route.prefix)
                })?;
                Some((IpAddr::V4(*address), interface))
            }
        };
        let prefix = IpNet::V4(route.prefix);
        Ok(StaticRoute { prefix, hop })
    };
    site.routes.iter().map(route).collect()
}
