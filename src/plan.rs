//! The site, translated into what each core takes. The cores do not know the site file; this is where the two meet.

use bgpd::policy::PrefixList;
use bgpd::{Asn, PeerConfig, SpeakerConfig};
use crypto::Suite;
use ipnet::IpNet;
use vti::ifname::IfName;
use vti::nft::Ruleset;
use vti::plane::TunnelSpec;

mod bgp;
mod firewall;
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
    /// What their policies refer to.
    pub(crate) prefix_lists: Vec<PrefixList>,
    /// Which of the host's own routes peers may be told of.
    pub(crate) redistribute: Redistribute,
    /// The firewall, unless the site file leaves it to others.
    pub(crate) firewall: Option<Ruleset>,
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
    pub(crate) profile: String,
    pub(crate) interface: IfName,
    /// Our address inside, with its prefix length.
    pub(crate) inside: IpNet,
    pub(crate) peer_inside: std::net::IpAddr,
    /// The interface's MTU, where the site file sets it.
    pub(crate) mtu: Option<u16>,
    pub(crate) spec: TunnelSpec,
    /// `local` is filled in when the way to the peer is known.
    pub(crate) connection: ike::Connection,
    /// Our identity is whatever address we send from.
    pub(crate) local_id_follows_address: bool,
}

impl TunnelPlan {
    /// The interface's name.
    pub(crate) fn interface(&self) -> &str {
        &self.spec.interface
    }

    /// The suite that the first ESP proposal names.
    pub(crate) fn first_suite(&self) -> Option<Suite> {
        let proposal = self.connection.esp.first()?;
        Suite::new(proposal.encryption, proposal.integrity).ok()
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
            prefix_lists: Vec::new(),
            redistribute: Redistribute::default(),
            firewall: None,
        }
    }
}

pub(crate) use tunnel::Keys;

impl Plan {
    /// What the site asks of each core.
    ///
    /// # Errors
    /// What a core would refuse and the site file's checks did not see, with the line.
    pub(crate) fn of(site: &config::Site, keys: &Keys) -> Result<Self, String> {
        Ok(Self {
            name: site.gateway.name.clone(),
            ike: ike::EndpointConfig {
                ports: ike::Ports {
                    ike: site.daemon.ike_port,
                    nat: site.daemon.nat_port,
                },
                ..ike::EndpointConfig::default()
            },
            tunnels: tunnel::plan(site, keys)?,
            speaker: bgp::speaker(site),
            peers: bgp::peers(site)?,
            prefix_lists: bgp::prefix_lists(site),
            redistribute: bgp::redistribute(site),
            firewall: firewall::ruleset(site)?,
        })
    }
}
