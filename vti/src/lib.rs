//! The host: tunnel interfaces, addresses, routes and kernel settings, as they should be and as they
//! are; network namespaces; the data planes.

pub mod diff;
pub mod fake;
pub mod host;
pub mod ifname;
pub mod kernel;
mod link;
pub mod monitor;
mod netlink;
pub mod netns;
mod nexthop;
pub mod observed;
pub mod op;
pub mod plan;
pub mod query;
mod route;
pub mod sysctl;
