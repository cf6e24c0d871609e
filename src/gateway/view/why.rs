//! Why a packet goes where it goes, and why a neighbor is told of a prefix, or not: each step in words.

use std::net::IpAddr;
use std::time::Instant;

use bgpd::view::{ExportVerdict, PathSource, PathView, RouteFilter, RouteView};
use bgpd::wire::PathAttributes;
use bgpd::{Eligibility, LostBy, MultipathVerdict};
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};
use vti::query::Path;

use super::bgp::believed;
use super::{VERSION, to_value};
use crate::control::Refusal;
use crate::gateway::Gateway;

/// One path in words.
#[derive(Debug, Serialize)]
struct PathWhy {
    from: String,
    /// It carries traffic.
    used: bool,
    best: bool,
    why: String,
    /// The rule of import policy that lets it in.
    rule: Option<String>,
    as_path: String,
    local_pref: u32,
    weight: u16,
    communities: Vec<String>,
}

/// A next hop, and what carries packets to it.
#[derive(Debug, Serialize)]
struct HopWhy {
    via: IpAddr,
    interface: Option<String>,
    neighbor: String,
    /// The tunnel, if it is behind one.
    tunnel: Option<String>,
    /// Whether that is up.
    tunnel_up: Option<bool>,
}

/// What one neighbor is told.
#[derive(Debug, Serialize)]
struct ToldWhy {
    neighbor: String,
    told: bool,
    why: String,
}

impl Gateway {
    /// Why packets to a prefix or an address go where they go. `kernel` says where the kernel would send one.
    pub(crate) fn bgp_why(
        &self,
        asked: &str,
        kernel: impl FnOnce(IpAddr) -> Result<Option<Path>, String>,
    ) -> Result<Value, Refusal> {
        let asked = target(asked)?;
        let route = self.closest(asked);
        let way = kernel(asked.addr());
        let hops: Vec<HopWhy> = route.iter().flat_map(|it| self.hops(it)).collect();
        let paths: Vec<PathWhy> = route.iter().flat_map(paths).collect();
        let told = route.as_ref().map(|it| self.told(&it.prefix));
        Ok(json!({
            "version": VERSION,
            "asked": asked,
            "prefix": route.as_ref().map(|it| it.prefix),
            "next_hops": to_value(&hops)?,
            "paths": to_value(&paths)?,
            "kernel": kernel_words(asked.addr(), &way, &hops),
            "told": to_value(&told.unwrap_or_default())?,
        }))
    }

    /// Why a neighbor is told of a prefix, or not, and why what it says of it is believed, or not.
    pub(crate) fn bgp_why_not(
        &self,
        now: Instant,
        name: &str,
        prefix: &str,
    ) -> Result<Value, Refusal> {
        let peer = self.peer(name)?;
        let prefix = target(prefix)?;
        let (told, to) = self.export_words(peer, &prefix);
        let summary = self.bgp.summary(now);
        let session = summary.peers.iter().find(|it| it.name == peer.name);
        let received = self.bgp.received(peer.name.as_str()).unwrap_or_default();
        let sent = received.into_iter().find(|it| it.prefix == prefix);
        let (believed, from) = match (sent, session) {
            (Some(route), _) => believed(&route.verdict),
            (None, Some(it)) if it.state == bgpd::State::Established => {
                (false, "it has not sent this prefix".into())
            }
            (None, _) => (false, "there is no session with it".into()),
        };
        Ok(json!({
            "version": VERSION,
            "neighbor": peer.name.as_str(),
            "prefix": prefix,
            "to_it": { "told": told, "why": to },
            "from_it": { "believed": believed, "why": from },
        }))
    }

    /// The prefix itself, or else the longest one that covers it.
    fn closest(&self, asked: IpNet) -> Option<RouteView> {
        let covering = RouteFilter {
            covering: Some(asked.addr()),
            ..RouteFilter::default()
        };
        let routes = self.bgp.routes(&covering).into_iter();
        let routes = routes.filter(|it| it.prefix.prefix_len() <= asked.prefix_len());
        routes.max_by_key(|it| it.prefix.prefix_len())
    }

    fn hops(&self, route: &RouteView) -> Vec<HopWhy> {
        let hop = |hop: &bgpd::FibNextHop| {
            let tunnel = self.tunnels.values().find(|tunnel| {
                let name = tunnel.plan.interface.as_str();
                hop.interface.as_deref() == Some(name)
            });
            HopWhy {
                via: hop.via,
                interface: hop.interface.clone(),
                neighbor: hop.peer.to_string(),
                tunnel: tunnel.map(|it| it.plan.name.clone()),
                tunnel_up: tunnel.map(|it| it.is_up()),
            }
        };
        route.next_hops.iter().map(hop).collect()
    }

    fn told(&self, prefix: &IpNet) -> Vec<ToldWhy> {
        let one = |peer: &bgpd::PeerConfig| {
            let (told, why) = self.export_words(peer, prefix);
            ToldWhy {
                neighbor: peer.name.to_string(),
                told,
                why,
            }
        };
        self.bgp.peer_configs().map(one).collect()
    }

    fn export_words(&self, peer: &bgpd::PeerConfig, prefix: &IpNet) -> (bool, String) {
        match self.bgp.why_export(&peer.name, prefix) {
            Some(ExportVerdict::Advertised { rule: Some(rule) }) => {
                (true, format!("it has been told, permitted by {rule}"))
            }
            Some(ExportVerdict::Advertised { rule: None }) => (true, "it has been told".into()),
            Some(ExportVerdict::Originated) => (
                true,
                "it is told a default route of ours (default-originate)".into(),
            ),
            Some(ExportVerdict::Pending) => (true, "it is about to be told".into()),
            Some(ExportVerdict::NoRoute) => (
                false,
                "there is no usable route for exactly this prefix to tell it of".into(),
            ),
            Some(ExportVerdict::NotEstablished) | None => {
                (false, "there is no session with it".into())
            }
            Some(ExportVerdict::Withheld(withheld)) => (false, withheld.to_string()),
        }
    }
}

/// A prefix, or an address as one of all its bits.
fn target(text: &str) -> Result<IpNet, Refusal> {
    let net = text
        .parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    net.map(|net: IpNet| net.trunc()).map_err(|_| {
        Refusal::Invalid(format!(
            "{text} is neither a prefix nor an address; expected one like 10.0.0.0/16 or 10.0.5.9"
        ))
    })
}

fn paths(route: &RouteView) -> Vec<PathWhy> {
    let best = route.paths.iter().find(|path| path.best);
    route
        .paths
        .iter()
        .map(|path| PathWhy {
            from: match &path.source {
                PathSource::Local(_) => "this gateway".into(),
                PathSource::Peer(peer) => peer.to_string(),
            },
            used: path.best || path.multipath == MultipathVerdict::InSet,
            best: path.best,
            why: verdict(path, best),
            rule: path.rule.as_ref().map(ToString::to_string),
            as_path: path.attributes.as_path.to_string(),
            local_pref: path.local_pref,
            weight: path.weight,
            communities: communities(&path.attributes),
        })
        .collect()
}

/// All communities of a path as they are written, of whatever size.
pub(super) fn communities(set: &PathAttributes) -> Vec<String> {
    let standard = set.communities.iter().map(ToString::to_string);
    let extended = set.extended_communities.iter().map(ToString::to_string);
    let large = set.large_communities.iter().map(ToString::to_string);
    standard.chain(extended).chain(large).collect()
}

/// What became of a path, and by what.
fn verdict(path: &PathView, best: Option<&PathView>) -> String {
    match &path.eligibility {
        Eligibility::Refused(refusal) => return format!("not believed: {refusal}"),
        Eligibility::NextHopUnresolved { next_hop } => {
            return format!("not usable: nothing says how to reach its next hop {next_hop}");
        }
        Eligibility::InterfaceDown { interface } => {
            return format!("not usable: {interface} carries nothing");
        }
        Eligibility::Eligible => {}
    }
    let Some(best) = best.filter(|_| !path.best) else {
        return "best".into();
    };
    let by = path.lost_by.map(|by| lost(by, path, best));
    let by = by.unwrap_or_else(|| "it came second".into());
    match path.multipath {
        MultipathVerdict::InSet => "as good as the best one, and carries traffic beside it".into(),
        MultipathVerdict::Worse | MultipathVerdict::NotEligible => format!("lost: {by}"),
        MultipathVerdict::LocalBest => "lost: a route of our own comes first".into(),
        MultipathVerdict::DifferentAsPath => format!(
            "as good as the best one, but by another AS path ({}), and multipath-relax is off",
            path.attributes.as_path
        ),
        MultipathVerdict::SameNextHop => {
            "as good as the best one, but with the same next hop as one that carries traffic".into()
        }
        MultipathVerdict::BeyondMaximum { maximum } => format!(
            "as good as the best one, but only {maximum} may carry traffic (maximum-paths); {by}"
        ),
    }
}

/// The step that a path lost by, with what was compared.
fn lost(by: LostBy, path: &PathView, best: &PathView) -> String {
    let (ours, theirs) = (&path.attributes, &best.attributes);
    match by {
        LostBy::Weight => format!("{by}, {} against {}", path.weight, best.weight),
        LostBy::LocalPref => format!("{by}, {} against {}", path.local_pref, best.local_pref),
        LostBy::AsPathLength => format!(
            "{by}, {} against {}",
            ours.as_path.hops(),
            theirs.as_path.hops()
        ),
        LostBy::MultiExitDisc => format!(
            "{by}, {} against {}",
            ours.med.unwrap_or_default(),
            theirs.med.unwrap_or_default()
        ),
        LostBy::Origin => format!("{by}, {} against {}", ours.origin, theirs.origin),
        LostBy::LocalRoute
        | LostBy::InternalPeer
        | LostBy::RouterId
        | LostBy::ClusterList
        | LostBy::PeerAddress => by.to_string(),
    }
}

/// Where the kernel would send a packet, and whether that is what BGP wants.
fn kernel_words(to: IpAddr, way: &Result<Option<Path>, String>, hops: &[HopWhy]) -> Value {
    let (agrees, words) = match way {
        Err(error) => (None, format!("the kernel cannot be asked: {error}")),
        Ok(None) if hops.is_empty() => (None, format!("the kernel has no route to {to}")),
        Ok(None) => (
            Some(false),
            format!("the kernel has no route to {to}: ours is missing, or a blackhole comes first"),
        ),
        Ok(Some(path)) => {
            let via = path.via.map_or(String::new(), |via| format!("via {via} "));
            let dev = path.dev.as_str();
            let is_ours = hops.iter().any(|hop| {
                hop.interface.as_deref().is_none_or(|it| it == dev)
                    && path.via.is_none_or(|via| via == hop.via)
            });
            let words = format!("a packet to {to} would leave {via}by {dev} now");
            if path.is_local {
                (None, format!("{to} is an address of this host"))
            } else if hops.is_empty() || is_ours {
                ((!hops.is_empty()).then_some(true), words)
            } else {
                (
                    Some(false),
                    format!(
                        "{words}, which is not one of the next hops: a route or a rule of somebody else comes first; see `ip route get {to}` and `ip rule`"
                    ),
                )
            }
        }
    };
    json!({ "agrees": agrees, "why": words })
}
