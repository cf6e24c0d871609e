//! The parts that the stories are made of.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bgpd::policy::{Decision, PrefixList, Rule};
use bgpd::{
    Asn, Command, Event, LocalRoute, LocalSource, PeerConfig, PeerName, Policy, Role,
    SpeakerConfig, State,
};
use ipnet::IpNet;

use super::world::{Node, World};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// Static routes to tell, beside networks on the LAN that are not told.
pub(crate) fn static_routes(told: &[&str], connected: &[&str]) -> Command {
    let route = |prefix: &&str, source, interface: Option<&str>| LocalRoute {
        prefix: net(prefix),
        source,
        interface: interface.map(Into::into),
        redistribute: interface.is_none(),
    };
    let told = told
        .iter()
        .map(|prefix| route(prefix, LocalSource::Static, None));
    let connected = connected
        .iter()
        .map(|prefix| route(prefix, LocalSource::Connected, Some("lan")));
    Command::SetLocalRoutes(told.chain(connected).collect())
}

pub(crate) fn speaker(asn: u32, id: [u8; 4]) -> SpeakerConfig {
    SpeakerConfig {
        asn: Asn(asn),
        router_id: Ipv4Addr::from(id),
        maximum_paths: 16,
        multipath_relax: true,
    }
}

/// A peer that everything passes to and from.
pub(crate) fn peer(name: &str, ours: &str, theirs: &str, asn: u32) -> PeerConfig {
    let mut config = PeerConfig::new(name, ip(theirs), Asn(asn), Role::Lan);
    config.update_source = Some(ip(ours));
    config.import = Some(Policy::PermitAll);
    config.export = Some(Policy::PermitAll);
    config.hold_time = Duration::from_secs(18);
    config
}

pub(crate) fn add(config: PeerConfig) -> Command {
    Command::AddPeer(Box::new(config))
}

pub(crate) fn replace(config: PeerConfig) -> Command {
    Command::ReplacePeer(Box::new(config))
}

/// Static routes of the speaker's own.
pub(crate) fn announce(prefixes: &[&str]) -> Command {
    let route = |prefix: &&str| LocalRoute {
        prefix: net(prefix),
        source: LocalSource::Static,
        interface: None,
        redistribute: true,
    };
    Command::SetLocalRoutes(prefixes.iter().map(route).collect())
}

/// A list that permits exactly these prefixes.
pub(crate) fn permit(name: &str, prefixes: &[&str]) -> PrefixList {
    let rule = |(index, prefix): (usize, &&str)| Rule {
        seq: 10 * (index as u32 + 1),
        decision: Decision::Permit,
        prefix: net(prefix),
        ge: None,
        le: None,
    };
    PrefixList::new(name, prefixes.iter().enumerate().map(rule).collect())
}

pub(crate) fn list(name: &str) -> Option<Policy> {
    Some(Policy::PrefixList(name.to_owned()))
}

impl World {
    pub(crate) fn state(&self, node: Node, peer: &str) -> State {
        self.speaker(node)
            .neighbor(self.now, peer)
            .unwrap()
            .summary
            .state
    }

    pub(crate) fn is_up(&self, node: Node, peer: &str) -> bool {
        self.state(node, peer) == State::Established
    }

    pub(crate) fn advertised(&self, node: Node, peer: &str) -> Vec<String> {
        let routes = self.speaker(node).advertised(peer).unwrap();
        routes
            .iter()
            .map(|route| route.prefix.to_string())
            .collect()
    }

    pub(crate) fn received(&self, node: Node, peer: &str) -> Vec<String> {
        let routes = self.speaker(node).received(peer).unwrap();
        routes
            .iter()
            .map(|route| route.prefix.to_string())
            .collect()
    }

    /// Who carries a prefix's packets in a speaker's kernel.
    pub(crate) fn carriers(&self, node: Node, prefix: &str) -> Vec<String> {
        let hops = self.fib.get(&(node, net(prefix)));
        hops.into_iter()
            .flatten()
            .map(|hop| hop.peer.to_string())
            .collect()
    }

    pub(crate) fn count(&self, is_it: impl Fn(Node, &Event) -> bool) -> usize {
        self.events
            .iter()
            .filter(|(node, event)| is_it(*node, event))
            .count()
    }

    pub(crate) fn downs(&self) -> usize {
        self.count(|_, event| matches!(event, Event::PeerDown { .. }))
    }
}

/// Two speakers in two ASes, at 10.0.0.0 and 10.0.0.1, each with the other as its peer "b" and "a".
pub(crate) fn pair(seed: u64) -> (World, Node, Node) {
    let mut world = World::new(seed);
    let a = world.add(speaker(65000, [1, 1, 1, 1]), &["10.0.0.0"]);
    let b = world.add(speaker(31898, [2, 2, 2, 2]), &["10.0.0.1"]);
    (world, a, b)
}

pub(crate) fn peer_b() -> PeerConfig {
    peer("b", "10.0.0.0", "10.0.0.1", 31898)
}

pub(crate) fn peer_a() -> PeerConfig {
    peer("a", "10.0.0.1", "10.0.0.0", 65000)
}

/// The same, established.
pub(crate) fn established(seed: u64) -> (World, Node, Node) {
    let (mut world, a, b) = pair(seed);
    world.command(a, add(peer_b()));
    world.command(b, add(peer_a()));
    world.run_until(5 * SECOND, |world| {
        world.is_up(a, "b") && world.is_up(b, "a")
    });
    world.run(SECOND);
    (world, a, b)
}

pub(crate) fn name(text: &str) -> PeerName {
    PeerName::from(text)
}
