//! What on this host keeps tunnels from working, or would make us cut the host off: each found, named, and with what to do about it.
//!
//! Looking is apart from judging: [`look`] reads the kernel's settings, and what it hands to each judgement is plain data. What the
//! firewalls of others do is followed by [`vti::nft`]; [`flows`] says which packets have to get through.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use vti::nft::{Flow, Outcome, Passage, Ruleset};

use crate::gateway::LocalPath;

mod ike_daemon;
mod policies;
mod settings;

pub(crate) use ike_daemon::explain_port;

/// What has to be known of a site to judge its host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outline {
    /// The peers' outer addresses.
    pub(crate) remotes: Vec<IpAddr>,
    /// The interface towards them, where the site file names it.
    pub(crate) wan: Option<String>,
    /// The tunnels' interfaces.
    pub(crate) tunnels: BTreeSet<String>,
    /// Our own networks.
    pub(crate) networks: Vec<IpNet>,
    /// The interfaces of neighbors that are reached without a tunnel.
    pub(crate) lan: BTreeSet<String>,
    /// The UDP ports of IKE, and of IKE and ESP behind a NAT.
    pub(crate) ports: (u16, u16),
}

/// The host, as far as it is judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host<'a> {
    /// How each peer is reached now.
    pub(crate) paths: &'a BTreeMap<IpAddr, Result<LocalPath, String>>,
    /// The networks that it is connected to, with their interfaces.
    pub(crate) connected: &'a [(IpNet, String)],
    /// The interface of each of its addresses.
    pub(crate) addresses: &'a [(IpAddr, String)],
    /// What is routed into the tunnels.
    pub(crate) routed: &'a [IpNet],
}

/// Everything that is in the way, in words.
pub(crate) fn look(site: &Outline, host: Host<'_>) -> Vec<String> {
    let settings = settings::Conf::read();
    let mut found = into_tunnels(site, host);
    found.extend(settings::judge(site, host, &settings));
    found.extend(policies::judge(site, host, &policies::Database::read()));
    found
}

/// Routes of others that lead the tunnels' own packets into a tunnel.
fn into_tunnels(site: &Outline, host: Host<'_>) -> Vec<String> {
    let paths = host.paths.iter();
    paths
        .filter_map(|(remote, path)| {
            let into = &path.as_ref().ok()?.interface;
            site.tunnels.contains(into).then(|| {
                let wan = site.wan.as_deref().unwrap_or("WAN");
                format!(
                    "the route to {remote} leads into our own tunnel interface {into}, so its encrypted packets would go into themselves: delete that route (ip route get {remote}; ip route show dev {into}), or add a more specific one: ip route add {remote}/32 via GATEWAY dev {wan}"
                )
            })
        })
        .collect()
}

/// What has to get through the tables of others for the site to work.
pub(crate) fn flows(site: &Outline, ruleset: Option<&Ruleset>) -> Vec<Flow> {
    let wan = site.wan.as_deref();
    let outer = site.remotes.iter().flat_map(|peer| {
        let both = [
            Flow::from_peer(*peer, wan, None),
            Flow::to_peer(*peer, wan, None),
        ];
        both.into_iter().flatten()
    });
    let sessions = ruleset
        .into_iter()
        .flat_map(|ruleset| &ruleset.bgp)
        .map(|peer| Flow::bgp_from(peer.address, &peer.interface));
    // A masquerade is often for one network only, so each is followed by itself.
    let ours = site
        .networks
        .iter()
        .filter(|network| network.addr().is_ipv4());
    let sources: Vec<Option<IpAddr>> = if site.networks.is_empty() {
        vec![None]
    } else {
        ours.map(|network| Some(a_host_of(network))).collect()
    };
    let inner = site.tunnels.iter().flat_map(|tunnel| {
        let out = sources
            .iter()
            .map(|source| Flow::to_cloud(tunnel, *source, None));
        out.chain([Flow::from_cloud(tunnel, None, None)])
            .collect::<Vec<_>>()
    });
    outer.chain(sessions).chain(inner).collect()
}

/// Whether what becomes of a flow is worth a word.
pub(crate) fn is_in_the_way(passage: &Passage) -> bool {
    match &passage.outcome {
        Outcome::Passes => false,
        Outcome::Dropped { .. } | Outcome::Rewritten { .. } => true,
        // Which addresses come out of a tunnel is not known, so every rule about addresses of ours would be one that may give them others.
        Outcome::Unclear { by, .. } => passage.flow.incoming.is_none() || by.hook != "postrouting",
    }
}

/// An address in a network that a host may have.
fn a_host_of(network: &IpNet) -> IpAddr {
    network.hosts().nth(1).unwrap_or_else(|| network.addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(dev: &str) -> Result<LocalPath, String> {
        Ok(LocalPath {
            source: "203.0.113.10".parse().unwrap(),
            interface: dev.into(),
            mtu: 1500,
        })
    }

    fn site() -> Outline {
        Outline {
            remotes: vec!["198.51.100.1".parse().unwrap()],
            wan: Some("wan0".into()),
            tunnels: ["cw-a".to_owned()].into(),
            networks: vec!["192.168.2.0/24".parse().unwrap()],
            ports: (500, 4500),
            ..Outline::default()
        }
    }

    #[test]
    fn a_route_to_a_peer_through_its_own_tunnel_is_named_with_the_command_that_mends_it() {
        for (dev, found) in [("wan0", 0), ("cw-a", 1), ("cw-foreign", 0)] {
            let paths = [("198.51.100.1".parse().unwrap(), path(dev))].into();
            let host = Host {
                paths: &paths,
                connected: &[],
                addresses: &[],
                routed: &[],
            };
            let said = into_tunnels(&site(), host);
            assert_eq!(said.len(), found, "{dev}");
            let command = "ip route add 198.51.100.1/32 via GATEWAY dev wan0";
            assert!(said.iter().all(|text| text.contains(command)), "{said:?}");
        }
    }

    #[test]
    fn each_of_our_networks_is_followed_into_each_tunnel() {
        let mut site = site();
        site.networks.push("10.9.0.0/16".parse().unwrap());
        let sources: Vec<Option<IpAddr>> = flows(&site, None)
            .into_iter()
            .filter(|flow| flow.outgoing.as_deref() == Some("cw-a"))
            .map(|flow| flow.source)
            .collect();
        let of = |text: &str| Some(text.parse().unwrap());
        assert_eq!(sources, [of("192.168.2.2"), of("10.9.0.2")]);
    }
}
