//! Routes of the site's own.

use config::model::{self, Way};

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
                Some((*address, interface))
            }
        };
        let prefix = route.prefix;
        Ok(StaticRoute { prefix, hop })
    };
    site.routes.iter().map(route).collect()
}
