//! The one place that knows whether a next hop can be used.
//!
//! A next hop is the peer's own address, on the peer's interface, or an address on a network that we
//! are connected to, or one that the kernel was said to reach. A link-local one is where the peer is. It is usable while its interface is
//! up; for a tunnel that means while its CHILD_SA is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::LocalRoute;
use crate::LocalSource;
use crate::policy::Refusal;

/// Whether a path takes part in the selection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Eligibility {
    /// It does.
    Eligible,
    /// Policy refuses it.
    Refused(Refusal),
    /// Nothing says how to reach its next hop.
    NextHopUnresolved {
        /// The next hop.
        next_hop: IpAddr,
    },
    /// Its next hop is behind an interface that is down.
    InterfaceDown {
        /// The interface.
        interface: String,
    },
}

/// Where a next hop is, and whether packets get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Over this interface, where it is known.
    Usable(Option<String>),
    /// Over an interface that is down.
    Down(String),
    /// Nobody knows.
    Unresolved,
}

/// What is known of interfaces and networks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolver {
    down: BTreeSet<String>,
    connected: BTreeMap<IpNet, String>,
    known: BTreeMap<IpAddr, String>,
}

impl Resolver {
    /// Returns whether that is news.
    pub(crate) fn set_interface(&mut self, name: &str, up: bool) -> bool {
        if up {
            self.down.remove(name)
        } else {
            self.down.insert(name.to_owned())
        }
    }

    /// An interface that was never mentioned is up.
    pub(crate) fn is_up(&self, name: &str) -> bool {
        !self.down.contains(name)
    }

    /// Returns whether that is news.
    pub(crate) fn set_next_hop(&mut self, address: IpAddr, interface: Option<String>) -> bool {
        match interface {
            Some(interface) => self.known.insert(address, interface.clone()) != Some(interface),
            None => self.known.remove(&address).is_some(),
        }
    }

    /// Takes the connected networks from among the local routes; returns whether they are others.
    pub(crate) fn set_connected(&mut self, routes: &[LocalRoute]) -> bool {
        let connected = routes
            .iter()
            .filter(|route| route.source == LocalSource::Connected)
            .filter_map(|route| Some((route.prefix.trunc(), route.interface.clone()?)))
            .collect();
        let changed = self.connected != connected;
        self.connected = connected;
        changed
    }

    /// Where a next hop is that a peer named.
    pub(crate) fn reach(
        &self,
        next_hop: IpAddr,
        peer_address: IpAddr,
        peer_interface: Option<&str>,
    ) -> Reach {
        let of_peer = next_hop == peer_address;
        let interface = peer_interface
            .filter(|_| of_peer)
            .or_else(|| self.known.get(&next_hop).map(String::as_str))
            .or_else(|| self.connected_interface(next_hop))
            .or_else(|| {
                is_link_local(next_hop)
                    .then(|| peer_interface.or_else(|| self.connected_interface(peer_address)))
                    .flatten()
            });
        match interface {
            Some(name) if self.is_up(name) => Reach::Usable(Some(name.to_owned())),
            Some(name) => Reach::Down(name.to_owned()),
            // The session itself shows that the peer can be reached somehow.
            None if of_peer => Reach::Usable(None),
            None => Reach::Unresolved,
        }
    }

    fn connected_interface(&self, address: IpAddr) -> Option<&str> {
        self.connected
            .iter()
            .filter(|(network, _)| network.contains(&address))
            .max_by_key(|(network, _)| network.prefix_len())
            .map(|(_, interface)| interface.as_str())
    }
}

/// Whether an address has a meaning on one link only.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn connected(prefix: &str, interface: &str) -> LocalRoute {
        LocalRoute {
            prefix: prefix.parse().unwrap(),
            source: LocalSource::Connected,
            interface: Some(interface.to_owned()),
            redistribute: false,
        }
    }

    #[test]
    fn a_next_hop_is_found_by_its_peer_then_by_order_then_by_the_longest_network() {
        let mut resolver = Resolver::default();
        let routes = [
            connected("10.0.0.0/8", "wide"),
            connected("10.1.0.0/31", "vti1"),
        ];
        assert!(resolver.set_connected(&routes));
        let over = |name: &str| Reach::Usable(Some(name.to_owned()));
        let peer = ip("10.1.0.1");
        assert_eq!(resolver.reach(peer, peer, Some("own")), over("own"));
        assert_eq!(resolver.reach(peer, peer, None), over("vti1"));
        assert_eq!(
            resolver.reach(ip("10.9.0.1"), peer, Some("own")),
            over("wide")
        );
        assert!(resolver.set_next_hop(ip("10.9.0.1"), Some("told".into())));
        assert_eq!(resolver.reach(ip("10.9.0.1"), peer, None), over("told"));
    }

    #[test]
    fn a_link_local_next_hop_is_where_its_peer_is() {
        let mut resolver = Resolver::default();
        assert!(resolver.set_connected(&[
            connected("2001:db8:1::/64", "lan1"),
            connected("2001:db8:2::/64", "lan2"),
        ]));
        let over = |name: &str| Reach::Usable(Some(name.to_owned()));
        let (peer, next_hop) = (ip("2001:db8:2::7"), ip("fe80::7"));
        assert_eq!(resolver.reach(next_hop, peer, None), over("lan2"));
        assert_eq!(resolver.reach(next_hop, peer, Some("own")), over("own"));
        let stranger = ip("2001:db8:9::7");
        assert_eq!(resolver.reach(next_hop, stranger, None), Reach::Unresolved);
    }

    #[test]
    fn what_nobody_knows_is_unresolved_but_for_the_peer_itself() {
        let resolver = Resolver::default();
        let peer = ip("10.1.0.1");
        assert_eq!(
            resolver.reach(ip("192.0.2.1"), peer, Some("vti1")),
            Reach::Unresolved
        );
        assert_eq!(resolver.reach(peer, peer, None), Reach::Usable(None));
    }

    #[test]
    fn an_interface_is_up_until_it_is_said_to_be_down() {
        let mut resolver = Resolver::default();
        let peer = ip("10.1.0.1");
        assert!(!resolver.set_interface("vti1", true));
        assert!(resolver.set_interface("vti1", false));
        assert!(!resolver.set_interface("vti1", false));
        assert_eq!(
            resolver.reach(peer, peer, Some("vti1")),
            Reach::Down("vti1".into())
        );
    }
}
