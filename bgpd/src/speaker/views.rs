//! Looking at a speaker.

use std::collections::BTreeMap;
use std::time::Instant;

use ipnet::IpNet;

use super::Speaker;
use super::judge::verdict;
use super::peer::{Peer, export_context};
use crate::policy::{PolicyTable, Verdict, Withheld};
use crate::rib::{PeerIndex, PrefixId, judge, originates};
use crate::view::{
    AdvertisedRoute, ExportVerdict, Neighbor, PeerSummary, ReceivedRoute, RouteFilter, RouteView,
    Summary, Tally,
};
use crate::wire::{Families, Family};
use crate::{PeerConfig, PeerName, SpeakerConfig};

impl Speaker {
    /// Everything at a glance.
    #[must_use]
    pub fn summary(&self, now: Instant) -> Summary {
        let peer = |index: PeerIndex| Some(self.peer_summary(now, index, self.peer(index)?));
        Summary {
            asn: self.config.asn,
            router_id: self.config.router_id,
            prefixes: self.rib.prefix_count(),
            paths: self.rib.path_count(),
            attribute_sets: self.rib.attributes.len(),
            fib_prefixes: self.rib.fib_count(),
            peers: self.indices().into_iter().filter_map(peer).collect(),
            ranges: self.range_summaries(),
        }
    }

    /// The parameters of each peer that there is now, by name.
    pub fn peer_configs(&self) -> impl Iterator<Item = &PeerConfig> {
        let indices = self.names.values();
        indices.filter_map(|index| Some(&self.peer(*index)?.config))
    }

    fn peer_summary(&self, now: Instant, index: PeerIndex, peer: &Peer) -> PeerSummary {
        let (session, config) = (&peer.session, &peer.config);
        let remarks = self.remarks(now, index, peer);
        PeerSummary {
            name: config.name.clone(),
            range: peer.range.clone(),
            address: config.address,
            remote_asn: config.remote_asn,
            role: config.role,
            state: session.state(),
            since: session.since(now),
            received: self.rib.received(index),
            accepted: self.rib.accepted(index),
            stale: self.rib.stale(index),
            advertised: peer.adj_out.advertised(),
            problem: remarks.into_iter().next(),
        }
    }

    /// Everything about a peer that is not as it should be, the gravest first.
    fn remarks(&self, now: Instant, index: PeerIndex, peer: &Peer) -> Vec<String> {
        let config = &peer.config;
        let mut remarks = Vec::new();
        let terms = peer.terms_of(&self.config, &self.rib.resolver, self.own_restart());
        remarks.extend(peer.session.obstacle(now, &terms));
        if let Some(interface) = config.interface.as_deref().filter(|_| !terms.interface_up) {
            remarks.push(format!("{interface} is down, so its paths are not used"));
        }
        if let Some(kept) = &peer.kept {
            let rest = kept.until.saturating_duration_since(now).as_secs();
            let stale = self.rib.stale(index);
            remarks.push(format!(
                "{stale} of its routes are kept for its return, {rest} s at most (graceful restart)"
            ));
        }
        if config.import.is_none() {
            remarks.push("no import policy: nothing that it teaches is believed (RFC 8212)".into());
        }
        if config.export.is_none() {
            remarks.push("no export policy: it is told nothing (RFC 8212)".into());
        }
        remarks.extend(families(&self.config, &self.policy, peer));
        let (received, accepted) = (self.rib.received(index), self.rib.accepted(index));
        if received > 0 && accepted == 0 && config.import.is_some() {
            remarks.push(format!("{received} prefixes received, none accepted"));
        }
        let limit = config.max_prefixes_in.max;
        let most = Families::BOTH
            .iter()
            .map(|family| self.rib.received_of(index, family));
        if let Some(received) = most.max().filter(|received| *received > limit) {
            remarks.push(format!(
                "{received} prefixes received, the limit is {limit}"
            ));
        }
        if let Some(limit) = config.max_prefixes_out.filter(|it| {
            Families::BOTH
                .iter()
                .any(|family| peer.adj_out.advertised_of(family) >= *it)
        }) {
            remarks.push(format!("it is told {limit} prefixes, more are held back"));
        }
        remarks
    }

    /// All about one peer; `None` if there is no such peer.
    #[must_use]
    pub fn neighbor(&self, now: Instant, name: &str) -> Option<Neighbor> {
        let index = self.named(name)?;
        let peer = self.peer(index)?;
        let (session, config) = (&peer.session, &peer.config);
        let (messages_received, messages_sent) = session.counts();
        let terms = peer.terms_of(&self.config, &self.rib.resolver, self.own_restart());
        Some(Neighbor {
            summary: self.peer_summary(now, index, peer),
            local_asn: terms.local_asn,
            interface: config.interface.clone(),
            agreed: session.agreed().cloned(),
            hold_time: config.hold_time,
            hold_remaining: session.hold_remaining(now),
            our_capabilities: terms.capabilities(),
            their_capabilities: session.their_capabilities().cloned(),
            import: config.import.clone(),
            export: config.export.clone(),
            limit: config.max_prefixes_in,
            refused: self.refused(index, peer),
            end_of_rib_received: peer.has_sent_all(),
            pending: peer.adj_out.pending(),
            messages_received,
            messages_sent,
            update_faults: peer.update_faults,
            established_count: session.established_count(),
            last_error: session.last_error().cloned(),
            remarks: self.remarks(now, index, peer),
        })
    }

    /// What is counted of each peer, by name. Takes time by the number of peers, not of routes.
    #[must_use]
    pub fn tallies(&self, now: Instant) -> Vec<Tally> {
        let tally = |index: PeerIndex| {
            let peer = self.peer(index)?;
            let (messages_received, messages_sent) = peer.session.counts();
            Some(Tally {
                summary: self.peer_summary(now, index, peer),
                local_asn: peer.local_asn(&self.config),
                is_signed: peer.config.md5.is_some(),
                hold_time: peer.session.agreed().map(|agreed| agreed.hold_time),
                pending: peer.adj_out.pending(),
                messages_received,
                messages_sent,
                update_faults: peer.update_faults,
                established_count: peer.session.established_count(),
            })
        };
        self.indices().into_iter().filter_map(tally).collect()
    }

    /// Refused prefixes of a peer by kind of refusal.
    fn refused(&self, index: PeerIndex, peer: &Peer) -> BTreeMap<&'static str, u32> {
        let mut refused = BTreeMap::new();
        let Some(import) = peer.import(&self.config, &self.policy) else {
            return refused;
        };
        for (prefix, id) in self.rib.received_routes(index) {
            let Some(set) = self.rib.attributes.set(id) else {
                continue;
            };
            if let Verdict::Refused(refusal) = verdict(&import, &prefix, &set) {
                *refused.entry(refusal.kind()).or_default() += 1;
            }
        }
        refused
    }

    /// Prefixes with all their paths, in the order of prefixes.
    #[must_use]
    pub fn routes(&self, filter: &RouteFilter) -> Vec<RouteView> {
        let taught_by = filter.peer.as_ref().map(|name| self.named(name.as_str()));
        let passes = |prefix: &IpNet| {
            filter.within.is_none_or(|within| within.contains(prefix))
                && filter
                    .covering
                    .is_none_or(|address| prefix.contains(&address))
                && filter.after.is_none_or(|after| *prefix > after)
        };
        let taught = |id: PrefixId| match taught_by {
            None => true,
            Some(None) => false,
            Some(Some(peer)) => self.rib.teaches(peer, id),
        };
        self.rib
            .matching(passes)
            .into_iter()
            .filter(|(_, id)| taught(*id))
            .take(filter.limit.unwrap_or(usize::MAX))
            .filter_map(|(_, id)| {
                self.rib.route_view(id, |peer, prefix, set| {
                    let import = self.peer(peer)?.import(&self.config, &self.policy)?;
                    Some(verdict(&import, prefix, set))
                })
            })
            .collect()
    }

    /// What a peer has taught us, with the verdict on each prefix; `None` if there is no such peer.
    #[must_use]
    pub fn received(&self, name: &str) -> Option<Vec<ReceivedRoute>> {
        let index = self.named(name)?;
        let Some(import) = self.peer(index)?.import(&self.config, &self.policy) else {
            return Some(Vec::new());
        };
        let route = |(prefix, id)| {
            let attributes = self.rib.attributes.set(id)?;
            Some(ReceivedRoute {
                prefix,
                verdict: verdict(&import, &prefix, &attributes),
                attributes,
            })
        };
        Some(
            self.rib
                .received_routes(index)
                .into_iter()
                .filter_map(route)
                .collect(),
        )
    }

    /// What a peer has been told; `None` if there is no such peer.
    #[must_use]
    pub fn advertised(&self, name: &str) -> Option<Vec<AdvertisedRoute>> {
        let peer = self.peer(self.named(name)?)?;
        let route = |(id, attributes)| {
            let attributes = self.rib.attributes.set(attributes)?;
            Some(AdvertisedRoute {
                prefix: self.rib.prefix(id)?,
                attributes,
            })
        };
        let mut routes: Vec<_> = peer.adj_out.all_sent().filter_map(route).collect();
        routes.sort_by_key(|route| route.prefix);
        Some(routes)
    }

    /// Why a peer has been told of a prefix, or not; `None` if there is no such peer.
    #[must_use]
    pub fn why_export(&self, name: &PeerName, prefix: &IpNet) -> Option<ExportVerdict> {
        let peer = self.peer(self.named(name.as_str())?)?;
        let Some(context) = peer.export(&self.config, &self.policy) else {
            return Some(ExportVerdict::NotEstablished);
        };
        let Some(id) = self.rib.find(prefix) else {
            return Some(ExportVerdict::NoRoute);
        };
        if peer.adj_out.is_queued(id) {
            return Some(ExportVerdict::Pending);
        }
        if peer.adj_out.sent(id).is_some() && originates(prefix, &self.rib, &context) {
            return Some(ExportVerdict::Originated);
        }
        let Some(best) = self.rib.best(id) else {
            return Some(ExportVerdict::NoRoute);
        };
        let set = self.rib.attributes.set(best.attributes)?;
        let source = self.rib.export_source(best.source)?;
        let judge = judge(&best, &self.rib, &context);
        let judged = context.judge_route(&source, &set);
        let judged = judged.and_then(|()| context.judge_prefix(&judge, prefix));
        let withheld = match judged {
            Ok(permit) if peer.adj_out.sent(id).is_some() => {
                let rule = permit.name();
                return Some(ExportVerdict::Advertised { rule });
            }
            Err(withheld) => withheld,
            Ok(_) => match peer.config.max_prefixes_out {
                Some(limit) if peer.adj_out.advertised_of(Family::of(prefix)) >= limit => {
                    Withheld::Limit { limit }
                }
                _ => Withheld::TooLong,
            },
        };
        Some(ExportVerdict::Withheld(withheld))
    }
}

/// What of the families that a session is for cannot be exchanged on it.
fn families(speaker: &SpeakerConfig, policy: &PolicyTable, peer: &Peer) -> Vec<String> {
    let Some(agreed) = peer.session.agreed() else {
        return Vec::new();
    };
    let mut remarks = Vec::new();
    let missing = peer.config.families.without(agreed.families);
    if !missing.is_empty() {
        remarks.push(format!(
            "it does not offer {missing}, so only {} is exchanged",
            agreed.families
        ));
    }
    let context = export_context(&peer.config, agreed, speaker, policy);
    let mute: Families = agreed
        .families
        .iter()
        .filter(|family| context.can_tell(*family).is_err())
        .collect();
    if !mute.is_empty() {
        remarks.push(format!(
            "it is told no prefixes of {mute}: we have no address of that family to name as the next hop (next-hop-address)"
        ));
    }
    remarks
}
