//! BGP with real neighbors on the LAN.
//!
//! ```text
//!  home 192.168.2.250 ── gateway ──lan200── node1 FRR, node2 BIRD, node3 GoBGP
//! ```
//!
//! The nodes have no default route: whatever reaches home from them follows what BGP put there.

mod bfd;
mod ipv6;
mod lan;
mod limits;
mod policy;
mod ranges;
mod reflection;
mod refresh;
mod restart;
mod session;
mod why;
