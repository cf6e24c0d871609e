//! The site, translated into what each core takes. The cores do not know the site file; this is where the two meet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgpd::policy::Policies;
use bgpd::{Asn, Md5Key, PeerConfig, PeerName, PeerRange, SpeakerConfig};
use config::Console;
use config::model::Origin;
use crypto::{Secret, Suite};
use ike::ConnectionId;
use ipnet::IpNet;
use vti::ifname::IfName;
use vti::nft::{Alias, Ruleset};
use vti::plane::{TunnelId, TunnelSpec};

use crate::arithmetic;
use crate::lockout::Outline;

mod bfd;
mod bgp;
mod firewall;
mod route;
mod route_map;
mod tunnel;

/// Everything that the gateway is asked to be.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// What `status` calls this gateway.
    pub(crate) name: String,
    /// IKE as a whole.
    pub(crate) ike: ike::EndpointConfig,
    /// Tunnels, in the order of the site file.
    pub(crate) tunnels: Vec<TunnelPlan>,
    /// BGP as a whole.
    pub(crate) speaker: SpeakerConfig,
    /// Who we speak BGP with.
    pub(crate) peers: Vec<PeerConfig>,
    /// Who may become a neighbor by connecting.
    pub(crate) ranges: Vec<PeerRange>,
    /// Which of them stay down because the site file says so.
    pub(crate) shut_down: BTreeMap<PeerName, String>,
    /// Whose path is watched.
    pub(crate) bfd: BTreeMap<PeerName, Watch>,
    /// What their policies refer to.
    pub(crate) policies: Policies,
    /// Which of the host's own routes peers may be told of.
    pub(crate) redistribute: Redistribute,
    /// Routes that the site file sets.
    pub(crate) routes: Vec<StaticRoute>,
    /// Our own networks.
    pub(crate) networks: Vec<IpNet>,
    /// The interface towards the peers, where the site file names it.
    pub(crate) wan: Option<String>,
    /// The firewall, unless the site file leaves it to others.
    pub(crate) firewall: Option<Ruleset>,
    /// The aliases that the addresses of peers with a DNS name belong into.
    pub(crate) with_peers: BTreeSet<String>,
    /// The tunnels' interfaces at which a rule has to lower TCP's MSS, because the plane does not: known when the plane is chosen.
    pub(crate) clamp_mss: Vec<String>,
}

/// A route that the site file sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StaticRoute {
    pub(crate) prefix: IpNet,
    /// The router and the interface that it is on; `None` drops packets.
    pub(crate) hop: Option<(IpAddr, IfName)>,
}

/// How the path to a neighbor is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) session: ::bfd::SessionConfig,
    /// No BGP session before BFD is up.
    pub(crate) strict: bool,
}

/// Which of the host's own routes peers may be told of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Redistribute {
    pub(crate) connected: bool,
    pub(crate) fixed: bool,
    pub(crate) kernel: bool,
}

/// One tunnel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TunnelPlan {
    pub(crate) name: String,
    /// Where the site file defines it.
    pub(crate) line: usize,
    /// Where the site file has each of its keys.
    pub(crate) places: Places,
    /// What the cloud's console calls the same things.
    pub(crate) console: Option<&'static Console>,
    /// The public address of this gateway, where the site file names it.
    pub(crate) known_address: Option<IpAddr>,
    /// The site file chose the reqid; otherwise it is any that is free.
    pub(crate) number_is_chosen: bool,
    pub(crate) profile: String,
    pub(crate) interface: IfName,
    /// Our address inside, with its prefix length.
    pub(crate) inside: IpNet,
    pub(crate) peer_inside: IpAddr,
    /// The interface's MTU, where the site file sets it.
    pub(crate) mtu: Option<u16>,
    /// Whether TCP's MSS is lowered to what fits; by whom depends on the plane.
    pub(crate) mss_clamp: bool,
    /// What the interface is on the kernel's plane.
    pub(crate) interface_kind: config::model::InterfaceKind,
    /// What the network card should do on the kernel's plane.
    pub(crate) offload: config::model::Offload,
    /// Without what depends on the plane, until that is chosen.
    pub(crate) spec: TunnelSpec,
    /// `local` is filled in when the way to the peer is known.
    pub(crate) connection: ike::Connection,
    /// The peer's DNS name, where the site file has that: `connection.remote` is unspecified until it has been looked up.
    pub(crate) remote_name: Option<String>,
    /// Our identity is whatever address we send from.
    pub(crate) local_id_follows_address: bool,
}

/// Who chose the value of each key of a tunnel: a line of the site file, or what it follows from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Places(BTreeMap<&'static str, Origin>);

impl Places {
    /// Who chose a key's value. A key of the gateway is named as `gateway.address`.
    pub(crate) fn of(&self, key: &str) -> Option<&Origin> {
        self.0.get(key)
    }

    /// The keys that failures are about.
    const KEYS: [&str; 10] = [
        "remote",
        "psk",
        "certificate",
        "ppk",
        "local-id",
        "remote-id",
        "ike",
        "esp",
        "pfs",
        "initiate",
    ];

    /// Those of a tunnel.
    fn in_site(site: &config::Site, tunnel: &str) -> Self {
        let origin = |path: &str| site.setting(path).map(|setting| setting.origin.clone());
        let keys = Self::KEYS.into_iter();
        let own = keys.filter_map(|key| Some((key, origin(&format!("tunnel.{tunnel}.{key}"))?)));
        let address = origin("gateway.address").map(|origin| ("gateway.address", origin));
        Self(own.chain(address).collect())
    }
}

impl TunnelPlan {
    /// Whether another site file asks for the same tunnel: where it says so, and what only messages need, does not count.
    pub(crate) fn is_the_same(&self, new: &Self) -> bool {
        let moved = Self {
            line: new.line,
            places: new.places.clone(),
            known_address: new.known_address,
            ..self.clone()
        };
        moved == *new
    }

    /// Whether its peer is told something else.
    pub(crate) fn negotiates_otherwise(&self, new: &Self) -> bool {
        self.connection != new.connection
            || self.local_id_follows_address != new.local_id_follows_address
    }

    /// The peer's outer address, once it is known.
    pub(crate) fn remote(&self) -> Option<IpAddr> {
        let remote = self.connection.remote;
        (!remote.is_unspecified()).then_some(remote)
    }

    /// The interface's name.
    pub(crate) fn interface(&self) -> &str {
        &self.spec.interface
    }

    /// The suites of its ESP proposals, the preferred one first.
    pub(crate) fn suites(&self) -> impl Iterator<Item = Suite> {
        let proposals = self.connection.esp.iter();
        proposals.filter_map(|it| Suite::new(it.encryption, it.integrity).ok())
    }
}

impl Default for Plan {
    /// A gateway that does nothing, which is what every other one is reached from.
    fn default() -> Self {
        Self {
            name: String::new(),
            ike: ike::EndpointConfig::default(),
            tunnels: Vec::new(),
            speaker: SpeakerConfig {
                asn: Asn(0),
                router_id: std::net::Ipv4Addr::UNSPECIFIED,
                maximum_paths: 1,
                multipath_relax: true,
            },
            peers: Vec::new(),
            ranges: Vec::new(),
            shut_down: BTreeMap::new(),
            bfd: BTreeMap::new(),
            policies: Policies::default(),
            routes: Vec::new(),
            redistribute: Redistribute::default(),
            networks: Vec::new(),
            wan: None,
            firewall: None,
            with_peers: BTreeSet::new(),
            clamp_mss: Vec::new(),
        }
    }
}

pub(crate) use tunnel::Keys;

impl Plan {
    /// Lets tunnels keep the reqids that they run with where the site file leaves the choice to us: a tunnel that is written above
    /// another one must not disturb it.
    pub(crate) fn keep_numbers(&mut self, running: &Self) {
        let chosen = |tunnel: &&TunnelPlan| tunnel.number_is_chosen;
        let mut taken: BTreeSet<u32> = self
            .tunnels
            .iter()
            .filter(chosen)
            .map(|t| t.spec.id.0)
            .collect();
        let before: BTreeMap<&str, u32> = running
            .tunnels
            .iter()
            .map(|tunnel| (tunnel.name.as_str(), tunnel.spec.id.0))
            .collect();
        let (kept, new): (Vec<_>, Vec<_>) = self
            .tunnels
            .iter_mut()
            .filter(|tunnel| !tunnel.number_is_chosen)
            .partition(|tunnel| before.contains_key(tunnel.name.as_str()));
        for tunnel in kept.into_iter().chain(new) {
            let old = before.get(tunnel.name.as_str()).copied();
            let lowest = || {
                (1..=config::model::LARGEST_REQID).find(|number| {
                    !taken.contains(number) && !before.values().any(|old| old == number)
                })
            };
            if let Some(number) = old.filter(|old| !taken.contains(old)).or_else(lowest) {
                taken.insert(number);
                tunnel.spec.id = TunnelId(number);
                tunnel.connection.id = ConnectionId(number);
            }
        }
    }

    /// Tells neighbors over tunnels what they may expect of our restarts, once the data plane is chosen: interfaces and SAs of the kernel's
    /// plane live on without us.
    pub(crate) fn promise_forwarding(&mut self) {
        for tunnel in &self.tunnels {
            let over =
                |peer: &&mut PeerConfig| peer.interface.as_deref() == Some(tunnel.interface());
            for peer in self.peers.iter_mut().filter(over) {
                if let Some(restart) = &mut peer.graceful_restart {
                    restart.forwarding = bgp::outlives_us(tunnel);
                }
            }
        }
    }

    /// Gives a neighbor its TCP MD5 key.
    ///
    /// # Errors
    /// When no key of that length can be used.
    pub(crate) fn sign(&mut self, neighbor: &str, key: &Secret) -> Result<(), String> {
        let (octets, most) = (key.expose().len(), vti::tcp::LONGEST_MD5_KEY);
        if octets == 0 || octets > most {
            return Err(format!(
                "its TCP MD5 key has {octets} octets; expected 1 to {most}"
            ));
        }
        for peer in &mut self.peers {
            if peer.name.as_str() == neighbor {
                peer.md5 = Some(Md5Key::new(key.expose().to_vec()));
            }
        }
        Ok(())
    }

    /// Gives a tunnel its post-quantum pre-shared key.
    pub(crate) fn mix(
        &mut self,
        tunnel: &config::model::Tunnel,
        ppk: &config::model::Ppk,
        key: Secret,
    ) {
        let mixed = self
            .tunnels
            .iter_mut()
            .filter(|plan| plan.name == tunnel.name);
        for plan in mixed {
            plan.connection.ppk = Some(ike::Ppk {
                id: ppk.id.clone(),
                secret: key.clone(),
                required: ppk.required,
            });
        }
    }

    /// Whether the site routes IPv6: a neighbor exchanges it, or a route of the site file is one.
    pub(crate) fn forwards_ipv6(&self) -> bool {
        let members = self.ranges.iter().map(|range| &range.template);
        let mut peers = self.peers.iter().chain(members);
        let family = bgpd::wire::Family::IPV6_UNICAST;
        peers.any(|peer| peer.families.contains(family))
            || self
                .routes
                .iter()
                .any(|route| route.prefix.addr().is_ipv6())
    }

    /// Whether the tunnels run over IPv6: all of them do, or none.
    pub(crate) fn runs_over_ipv6(&self) -> bool {
        let literal = (self.tunnels.iter()).filter(|tunnel| tunnel.remote_name.is_none());
        literal
            .filter_map(TunnelPlan::remote)
            .any(|remote| remote.is_ipv6())
    }

    /// What the host has to be judged by.
    pub(crate) fn outline(&self) -> Outline {
        let tunnels: BTreeSet<String> = self
            .tunnels
            .iter()
            .map(|tunnel| tunnel.interface().to_owned())
            .collect();
        let members = self.ranges.iter().map(|range| &range.template);
        let interfaces =
            (self.peers.iter().chain(members)).filter_map(|peer| peer.interface.clone());
        Outline {
            remotes: (self.tunnels.iter())
                .filter_map(TunnelPlan::remote)
                .collect(),
            wan: self.wan.clone(),
            networks: self.networks.clone(),
            lan: interfaces.filter(|dev| !tunnels.contains(dev)).collect(),
            tunnels,
            ports: (self.ike.ports.ike, self.ike.ports.nat),
        }
    }

    /// All that our table in nf_tables has to say: what a site that leaves the firewall to others still needs of it, too.
    pub(crate) fn ruleset(&self) -> Option<Ruleset> {
        if self.firewall.is_none() && self.clamp_mss.is_empty() {
            return None;
        }
        let mut ruleset = Ruleset {
            clamp_mss: self.clamp_mss.clone(),
            ..self.firewall.clone().unwrap_or_default()
        };
        let named = (self.tunnels.iter()).filter(|tunnel| tunnel.remote_name.is_some());
        let found: BTreeSet<IpNet> = named
            .filter_map(TunnelPlan::remote)
            .map(IpNet::from)
            .collect();
        for (name, alias) in &mut ruleset.aliases {
            if let Alias::Networks(networks) = alias
                && self.with_peers.contains(name)
            {
                let new = found.iter().filter(|it| !networks.contains(it)).copied();
                let new: Vec<IpNet> = new.collect();
                networks.extend(new);
            }
        }
        Some(ruleset)
    }

    /// Lets tunnels keep the addresses that their peers' names stood for when they were looked up last.
    pub(crate) fn keep_addresses(&mut self, running: &Self) {
        for tunnel in &mut self.tunnels {
            let same = |old: &&TunnelPlan| {
                old.name == tunnel.name
                    && old.remote_name.is_some()
                    && old.remote_name == tunnel.remote_name
            };
            if let Some(old) = running.tunnels.iter().find(same) {
                tunnel.connection.remote = old.connection.remote;
            }
        }
    }

    /// The tunnels, as the data plane is told of them.
    pub(crate) fn specs(&self) -> Vec<TunnelSpec> {
        self.tunnels
            .iter()
            .map(|tunnel| tunnel.spec.clone())
            .collect()
    }

    /// What the site asks of each core.
    ///
    /// # Errors
    /// What a core would refuse and the site file's checks did not see, with the line.
    pub(crate) fn of(site: &config::Site, keys: &Keys) -> Result<Self, String> {
        let tunnels = tunnel::plan(site, keys)?;
        let peers = bgp::peers(site, &tunnels)?;
        Ok(Self {
            name: site.gateway.name.clone(),
            ike: ike::EndpointConfig {
                ports: ike::Ports {
                    ike: site.daemon.ike_port,
                    nat: site.daemon.nat_port,
                },
                job_limit: arithmetic::LIMIT,
                ..ike::EndpointConfig::default()
            },
            bfd: bfd::watches(site, &peers),
            peers,
            ranges: bgp::ranges(site)?,
            tunnels,
            speaker: bgp::speaker(site),
            shut_down: bgp::shut_down(site),
            policies: bgp::policies(site)?,
            routes: route::routes(site)?,
            redistribute: bgp::redistribute(site),
            networks: site.gateway.networks.clone(),
            wan: site.gateway.wan.clone(),
            firewall: firewall::ruleset(site)?,
            with_peers: site.firewall.with_peers.clone(),
            clamp_mss: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests;
