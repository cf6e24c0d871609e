//! The test bench: whole networks made of kernel network namespaces on this machine, with the real other programs
//! (strongSwan, FRR, BIRD, GoBGP) as peers, and traffic to measure what gets through.
//!
//! Invariants:
//! - Nothing outlives the test. A namespace here has no name: it is held by a thread of the test process and is gone
//!   with it; every daemon is told by the kernel to die with the thread that started it (`PR_SET_PDEATHSIG`), so even a
//!   test that is killed leaves no process, namespace or address behind. Its folder goes when [`Net`] is dropped.
//! - Nothing touches the host's own network: interfaces are created inside namespaces only.
//! - Nothing waits for a fixed time: see [`eventually`].
//! - What goes wrong is a panic that says what was expected, with the command's own words; when a test fails, the end of
//!   each daemon's log is printed.
//!
//! ```no_run
//! use lab::{Net, ping};
//!
//! let net = Net::new();
//! let (left, right) = (net.ns("left"), net.ns("right"));
//! net.veth((&left, "eth0", "192.0.2.1/24"), (&right, "eth0", "192.0.2.2/24"));
//! assert!(ping(&left, "192.0.2.2", 3, &[]).all());
//! ```
//!
//! Start reading at [`Scene`], which is the reference site with our daemon in its middle. With `CAUSEWAY_LAB_KEEP` in the
//! environment a network's folder (logs, configurations) stays.
//!
//! Not here: what a test asserts, and anything that a release of the daemon would contain.

mod authority;
mod bgp;
mod bird;
mod cabling;
mod causeway;
mod cloud;
mod connection;
mod daemon;
mod disturbance;
mod frr;
mod gobgp;
mod head_end;
mod libreswan;
mod netns;
mod sa;
mod scene;
mod site;
mod site_file;
mod strongswan;
mod tools;
mod traffic;
mod vici;
mod view;
mod vty;
mod wait;

pub use authority::{Authority, Issued, KeyType};
pub use bgp::{Exchanged, Neighbor, Router, Speaker};
pub use bird::Bird;
pub use causeway::{Gateway, Launch};
pub use cloud::{Cloud, Nodes};
pub use connection::{Connection, PeerCertificate, StartAction};
pub use daemon::{Daemon, Program};
pub use disturbance::{Disturbance, Hook, Netem};
pub use frr::Frr;
pub use gobgp::GoBgp;
pub use head_end::{HeadEnd, Peers};
pub use libreswan::Libreswan;
pub use netns::{Finished, Net, Ns};
pub use sa::{ChildSa, IkeSa};
pub use scene::Scene;
pub use site::{ReferenceSite, addresses};
pub use site_file::{A_RANGE, SiteFile};
pub use strongswan::{DataPlane, StrongSwan};
pub use tools::{Route, esp_spis, kernel_route, kernel_routes, require, require_kernel_esp};
pub use traffic::{
    Capture, FlowReport, PingReport, TransferReport, UdpFlow, ping, tcp_is_dropped, tcp_segments,
    tcp_transfer,
};
pub use wait::{OrFail, eventually, eventually_true, patience};
