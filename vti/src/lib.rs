//! The host: tunnel interfaces, addresses, routes and kernel settings, as they should be and as they are; the firewall; network
//! namespaces; and the data planes behind one trait.

pub mod diff;
pub mod fake;
pub mod host;
pub mod ifname;
pub mod kept;
pub mod kernel;
pub mod kernel_plane;
mod link;
pub mod linkinfo;
pub mod monitor;
mod netlink;
pub mod netns;
mod nexthop;
pub mod nft;
pub mod observed;
pub mod op;
pub mod plan;
pub mod plane;
pub mod query;
pub mod repair;
mod route;
mod sys;
pub mod sysctl;
pub mod tcp;
pub mod underlay;
pub mod user;
pub mod xfrm;
