//! What a reload would do, without doing it: another gateway, which only exists in memory, becomes what the new plan says.

use std::collections::BTreeMap;
use std::time::Instant;

use bgpd::EffectKind;
use serde::Serialize;
use vti::plan::Desired;

use super::{Gateway, HostFacts, Inherited};
use crate::plan::{Plan, TunnelPlan};

/// What becoming a plan would do.
pub(crate) struct Preview {
    /// What a reload would say, in its words.
    pub(crate) touched: Vec<String>,
    /// What each tunnel would notice.
    pub(crate) tunnels: Vec<TunnelPreview>,
    /// What each BGP neighbor would notice.
    pub(crate) neighbors: Vec<NeighborPreview>,
    /// What the host should look like afterwards.
    pub(crate) desired: Desired,
}

/// What a tunnel would notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TunnelPreview {
    pub(crate) name: String,
    pub(crate) effect: TunnelEffect,
}

/// How far a change reaches into a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TunnelEffect {
    /// Nothing.
    None,
    /// Something changes, and its SAs stay.
    Change,
    /// Its SAs are negotiated anew.
    Renegotiate,
    /// It is removed and added again.
    Replace,
    /// It is new.
    Add,
    /// It goes.
    Remove,
}

/// What a BGP neighbor would notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct NeighborPreview {
    pub(crate) name: String,
    pub(crate) effect: NeighborEffect,
    /// What of its parameters differs.
    pub(crate) fields: Vec<String>,
}

/// How far a change reaches into a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NeighborEffect {
    /// The session and its routes do not notice.
    None,
    /// Routes are judged anew; the session stays.
    Refresh,
    /// The session is reset.
    Reset,
    /// It is new.
    Add,
    /// It goes.
    Remove,
}

impl Gateway {
    /// What becoming `plan` would do.
    ///
    /// # Errors
    /// When the speaker would refuse a peer.
    pub(crate) fn preview(&self, now: Instant, plan: &Plan) -> Result<Preview, String> {
        let mut imagined = Self::imagine(now, self.plan.clone(), Inherited::default())?;
        for (id, tunnel) in &self.tunnels {
            if let Some(copy) = imagined.tunnels.get_mut(id) {
                copy.held_down = tunnel.held_down;
            }
        }
        let touched = imagined.reload(now, plan.clone())?;
        imagined.facts = self.facts.clone();
        imagined.fib = self.fib.clone();
        imagined.inherited = self.inherited.clone();
        for (id, tunnel) in &mut imagined.tunnels {
            let same = |live: &&super::Tunnel| {
                live.plan.spec == tunnel.plan.spec && live.plan.name == tunnel.plan.name
            };
            if let Some(live) = self.tunnels.get(id).filter(same) {
                let plan = std::mem::replace(tunnel, live.clone()).plan;
                tunnel.plan = plan;
            }
        }
        imagined.follow_paths(now);
        Ok(Preview {
            touched,
            tunnels: tunnels(&self.plan, plan),
            neighbors: neighbors(&self.plan, plan),
            desired: imagined.desired().0,
        })
    }

    /// What the host should look like when a gateway starts with this plan, before anybody has answered.
    ///
    /// # Errors
    /// When the speaker would refuse a peer.
    pub(crate) fn first_wish(
        now: Instant,
        plan: Plan,
        inherited: Inherited,
        facts: HostFacts,
    ) -> Result<Desired, String> {
        let mut imagined = Self::imagine(now, plan, inherited)?;
        imagined.handle_facts(now, facts);
        Ok(imagined.desired().0)
    }

    /// A gateway whose effects nobody carries out. It never speaks, so its seeds may be known.
    fn imagine(now: Instant, plan: Plan, inherited: Inherited) -> Result<Self, String> {
        Self::new(now, plan, [0; 32], [0; 32], inherited)
    }
}

fn tunnels(old: &Plan, new: &Plan) -> Vec<TunnelPreview> {
    let before: BTreeMap<&str, &TunnelPlan> = old
        .tunnels
        .iter()
        .map(|tunnel| (tunnel.name.as_str(), tunnel))
        .collect();
    let stays = |name: &str| new.tunnels.iter().any(|tunnel| tunnel.name == name);
    let present = new.tunnels.iter().map(|tunnel| TunnelPreview {
        name: tunnel.name.clone(),
        effect: before
            .get(tunnel.name.as_str())
            .map_or(TunnelEffect::Add, |old| effect(old, tunnel)),
    });
    let leaving = old.tunnels.iter().filter(|tunnel| !stays(&tunnel.name));
    let leaving = leaving.map(|tunnel| TunnelPreview {
        name: tunnel.name.clone(),
        effect: TunnelEffect::Remove,
    });
    present.chain(leaving).collect()
}

fn effect(old: &TunnelPlan, new: &TunnelPlan) -> TunnelEffect {
    if old.spec != new.spec {
        TunnelEffect::Replace
    } else if old.negotiates_otherwise(new) {
        TunnelEffect::Renegotiate
    } else if !old.is_the_same(new) {
        TunnelEffect::Change
    } else {
        TunnelEffect::None
    }
}

/// Every neighbor with a name, and what holds for each of the others.
fn templates(plan: &Plan) -> impl Iterator<Item = &bgpd::PeerConfig> {
    let ranges = plan.ranges.iter().map(|range| &range.template);
    plan.peers.iter().chain(ranges)
}

fn neighbors(old: &Plan, new: &Plan) -> Vec<NeighborPreview> {
    // What a neighbor's policies refer to is for the speaker to know; it judges everything anew when one changes.
    let differing = super::reload::differing(&old.policies, &new.policies);
    let one = |name: &bgpd::PeerName, effect, fields: Vec<String>| NeighborPreview {
        name: name.to_string(),
        effect,
        fields,
    };
    // A range stands for its members: its template changes as they do.
    let present = templates(new).map(|peer| {
        let Some(before) = templates(old).find(|old| old.name == peer.name) else {
            return one(&peer.name, NeighborEffect::Add, Vec::new());
        };
        let change = before.effect_of(peer);
        let mut fields: Vec<String> = change.fields.iter().map(ToString::to_string).collect();
        let is_down = |plan: &Plan| plan.shut_down.contains_key(&peer.name);
        let effect = if is_down(old) != is_down(new) {
            fields.push("shutdown".into());
            NeighborEffect::Reset
        } else if (old.speaker.asn, old.speaker.router_id)
            != (new.speaker.asn, new.speaker.router_id)
        {
            fields.push("asn or router-id".into());
            NeighborEffect::Reset
        } else {
            match change.kind {
                EffectKind::Reset => NeighborEffect::Reset,
                EffectKind::Refresh => NeighborEffect::Refresh,
                EffectKind::None => match differing {
                    Some(what) => {
                        fields.push(what.into());
                        NeighborEffect::Refresh
                    }
                    None => NeighborEffect::None,
                },
            }
        };
        one(&peer.name, effect, fields)
    });
    let stays = |peer: &&bgpd::PeerConfig| templates(new).any(|new| new.name == peer.name);
    let leaving = templates(old).filter(|peer| !stays(peer));
    let leaving = leaving.map(|peer| one(&peer.name, NeighborEffect::Remove, Vec::new()));
    present.chain(leaving).collect()
}
