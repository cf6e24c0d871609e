//! One peer: its parameters, its session, and what it has been told.

use std::collections::BTreeSet;
use std::time::Instant;

use super::refresh::Refreshes;
use crate::event::Agreed;
use crate::policy::{ExportContext, ImportContext, OwnNextHops, PolicyTable};
use crate::rib::{AdjOut, Resolver, Teacher};
use crate::session::{Session, Terms};
use crate::wire::{Families, UpdateContext};
use crate::{Asn, PeerConfig, PeerName, SpeakerConfig};

/// A peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) config: PeerConfig,
    /// The range that it is a member of; `None` where it has a name of its own.
    pub(super) range: Option<PeerName>,
    pub(super) session: Session,
    pub(super) adj_out: AdjOut,
    /// Names the circumstances under which its sets of attributes were judged.
    pub(super) stamp: u32,
    /// Kinds of refusal that the journal has on this session.
    pub(super) refusals_told: BTreeSet<&'static str>,
    /// How many faults in UPDATEs were told on this session.
    pub(super) faults_told: usize,
    pub(super) limit_told: bool,
    /// The families whose End-of-RIB it has sent on this session.
    pub(super) end_of_rib_received: Families,
    pub(super) update_faults: u64,
    /// When it last taught or withdrew something on this session, or was established.
    pub(super) heard: Option<Instant>,
    /// What it taught on a session that is over, where that is kept.
    pub(super) kept: Option<Kept>,
    /// Whether it is sending all its routes again (RFC 7313).
    pub(super) refreshes: Refreshes,
}

/// Routes kept for a peer's return (RFC 4724, section 4.2).
#[derive(Debug)]
pub(super) struct Kept {
    /// How long at most.
    pub(super) until: Instant,
    /// Of which families.
    pub(super) families: Families,
    /// On what terms they were taught.
    pub(super) agreed: Agreed,
}

/// Where we stand with our own restart.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnRestart {
    /// It is not over.
    pub(super) in_progress: bool,
    /// Routes of a process before this one were found in the kernel.
    pub(super) found_forwarding: bool,
}

impl Peer {
    pub(super) fn new(config: PeerConfig, session: Session) -> Self {
        Self {
            config,
            range: None,
            session,
            adj_out: AdjOut::default(),
            stamp: 0,
            refusals_told: BTreeSet::new(),
            faults_told: 0,
            limit_told: false,
            end_of_rib_received: Families::NONE,
            update_faults: 0,
            heard: None,
            kept: None,
            refreshes: Refreshes::default(),
        }
    }

    /// Our AS on its session.
    pub(super) fn local_asn(&self, speaker: &SpeakerConfig) -> Asn {
        self.config.local_asn.unwrap_or(speaker.asn)
    }

    pub(super) fn is_internal(&self, speaker: &SpeakerConfig) -> bool {
        self.config.remote_asn == self.local_asn(speaker)
    }

    /// Our side of its session.
    pub(super) fn terms_of(
        &self,
        speaker: &SpeakerConfig,
        resolver: &Resolver,
        restart: OwnRestart,
    ) -> Terms<'_> {
        let sessions = self.session.established_count();
        terms(&self.config, sessions, speaker, resolver, restart)
    }

    /// What its session agreed on, or the one whose routes are kept.
    fn agreed(&self) -> Option<&Agreed> {
        let kept = self.kept.as_ref().map(|kept| &kept.agreed);
        self.session.agreed().or(kept)
    }

    /// How its UPDATEs are read; `None` without a session.
    pub(super) fn update_context(&self, speaker: &SpeakerConfig) -> Option<UpdateContext> {
        let agreed = self.session.agreed()?;
        Some(UpdateContext {
            four_octet_as: agreed.four_octet_as,
            families: agreed.families,
            extended_next_hop: agreed.extended_next_hop,
            external: !self.is_internal(speaker),
        })
    }

    /// Whether it has sent End-of-RIB of all families of its session.
    pub(super) fn has_sent_all(&self) -> bool {
        let all = self.session.agreed().map(|agreed| agreed.families);
        all.is_some_and(|all| all.without(self.end_of_rib_received).is_empty())
    }

    /// How what it teaches is judged; `None` without a session whose routes there are.
    pub(super) fn import<'a>(
        &'a self,
        speaker: &SpeakerConfig,
        policy: &'a PolicyTable,
    ) -> Option<ImportContext<'a>> {
        Some(ImportContext {
            policy,
            peer: &self.config,
            local_asn: self.local_asn(speaker),
            router_id: speaker.router_id,
            local_address: self.agreed()?.local_address,
        })
    }

    /// How it is told; `None` without a session.
    pub(super) fn export<'a>(
        &'a self,
        speaker: &SpeakerConfig,
        policy: &'a PolicyTable,
    ) -> Option<ExportContext<'a>> {
        let agreed = self.session.agreed()?;
        Some(export_context(&self.config, agreed, speaker, policy))
    }

    /// What the tables have to know of it; `None` without a session whose routes there are.
    pub(super) fn teacher(&self, speaker: &SpeakerConfig) -> Option<Teacher> {
        Some(Teacher {
            name: self.config.name.clone(),
            address: self.config.address,
            interface: self.config.interface.clone(),
            role: self.config.role,
            internal: self.is_internal(speaker),
            client: self.config.route_reflector_client,
            local_pref: self.config.local_pref,
            router_id: self.agreed()?.remote_id,
        })
    }
}

/// Our side of a session with a peer of these parameters, which has had so many sessions.
pub(super) fn terms<'a>(
    config: &'a PeerConfig,
    sessions: u32,
    speaker: &SpeakerConfig,
    resolver: &Resolver,
    restart: OwnRestart,
) -> Terms<'a> {
    Terms {
        restarting: restart.in_progress,
        // While this process lives what it has put into the kernel lives on, whatever becomes of a session.
        forwarding_preserved: restart.found_forwarding || sessions > 0,
        config,
        local_asn: config.local_asn.unwrap_or(speaker.asn),
        router_id: speaker.router_id,
        interface_up: config
            .interface
            .as_deref()
            .is_none_or(|it| resolver.is_up(it)),
    }
}

/// How a peer with these parameters is told on a session with these terms.
pub(super) fn export_context<'a>(
    config: &'a PeerConfig,
    agreed: &Agreed,
    speaker: &SpeakerConfig,
    policy: &'a PolicyTable,
) -> ExportContext<'a> {
    ExportContext {
        policy,
        peer: config,
        local_asn: config.local_asn.unwrap_or(speaker.asn),
        router_id: speaker.router_id,
        families: agreed.families,
        next_hops: OwnNextHops::new(config, agreed),
    }
}
