//! `[tunnel.NAME]` as it was written.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::Duration;

use ipnet::Ipv4Net;
use toml::Spanned;
use toml::de::DeValue;

use super::section::{At, Read, Section};
use super::value::{self, InterfaceAddress};
use super::{RawCertificate, RawPpk};
use crate::code::Code;
use crate::diagnostic::Report;
use crate::model::{
    Encapsulation, Identity, InterfaceKind, Mtu, Offload, Pfs, Remote, SecretSource, TunnelRole,
};
use crate::profile::{Profile, TunnelProfile};
use crate::proposal::{EspProposal, IkeProposal, ProposalError};
use crate::schema;

/// One tunnel.
#[derive(Debug)]
pub(crate) struct RawTunnel {
    pub(crate) name: String,
    /// Where the name is.
    pub(crate) at: Range<usize>,
    pub(crate) profile: Option<At<Profile>>,
    pub(crate) remote: Option<At<Remote>>,
    pub(crate) psk: Option<At<SecretSource>>,
    pub(crate) certificate: Option<At<RawCertificate>>,
    pub(crate) ppk: Option<At<RawPpk>>,
    pub(crate) inside: Option<At<Ipv4Net>>,
    pub(crate) peer_inside: Option<At<Ipv4Addr>>,
    pub(crate) interface: Option<At<String>>,
    pub(crate) interface_kind: Option<At<InterfaceKind>>,
    pub(crate) reqid: Option<At<u32>>,
    pub(crate) local_id: Option<At<Identity>>,
    pub(crate) remote_id: Option<At<Identity>>,
    pub(crate) ike: Option<At<Vec<At<IkeProposal>>>>,
    pub(crate) esp: Option<At<Vec<At<EspProposal>>>>,
    pub(crate) pfs: Option<At<Pfs>>,
    pub(crate) childless: Option<At<bool>>,
    pub(crate) ike_lifetime: Option<At<Duration>>,
    pub(crate) child_lifetime: Option<At<Duration>>,
    pub(crate) encapsulation: Option<At<Encapsulation>>,
    pub(crate) initiate: Option<At<bool>>,
    pub(crate) mobike: Option<At<bool>>,
    pub(crate) liveness: Option<At<Duration>>,
    pub(crate) liveness_timeout: Option<At<Duration>>,
    pub(crate) mtu: Option<At<Mtu>>,
    pub(crate) mss_clamp: Option<At<bool>>,
    pub(crate) replay_window: Option<At<u32>>,
    pub(crate) offload: Option<At<Offload>>,
    pub(crate) role: Option<At<TunnelRole>>,
}

impl RawTunnel {
    pub(super) fn read<'v>(
        name: &str,
        at: Range<usize>,
        value: &'v Spanned<DeValue<'v>>,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let section = Section::open(
            value,
            at.clone(),
            format!("tunnel {name}"),
            &schema::TUNNEL,
            report,
        )?;
        let (psk, certificate) = (
            section.get("psk", report),
            section.get::<RawCertificate>("certificate", report),
        );
        match (section.value("psk"), section.value("certificate")) {
            (None, None) => section.missing("psk", report),
            (Some(psk), Some(certificate)) => {
                let message = format!("tunnel {name} has both a pre-shared key and a certificate");
                drop(
                    report
                        .error(Code::ConflictingKeys, certificate.span(), message)
                        .also(psk.span(), "the pre-shared key")
                        .help("keep the one that the peer has too: nothing falls back from one to the other"),
                );
            }
            _ => {}
        }
        Some(Self {
            name: name.to_owned(),
            at,
            profile: section.get("profile", report),
            remote: section.require("remote", report),
            psk,
            certificate,
            ppk: section.get("ppk", report),
            inside: section
                .require("inside", report)
                .map(|inside| inside.map(|InterfaceAddress(net)| net)),
            peer_inside: section.get("peer-inside", report),
            interface: section.get("interface", report),
            interface_kind: section.get("interface-kind", report),
            reqid: section.number("reqid", 0..=i64::from(u32::MAX), report),
            local_id: section.get("local-id", report),
            remote_id: section.get("remote-id", report),
            ike: proposals(&section, "ike", report),
            esp: proposals(&section, "esp", report),
            pfs: section.get("pfs", report),
            childless: section.get("childless", report),
            ike_lifetime: section.get("ike-lifetime", report),
            child_lifetime: section.get("child-lifetime", report),
            encapsulation: section.get("encapsulation", report),
            initiate: section.get("initiate", report),
            mobike: section.get("mobike", report),
            liveness: section.get("liveness", report),
            liveness_timeout: section.get("liveness-timeout", report),
            mtu: section.get("mtu", report),
            mss_clamp: section.get("mss-clamp", report),
            replay_window: section.number("replay-window", 128..=4_096, report),
            offload: section.get("offload", report),
            role: section.get("role", report),
        })
    }

    /// What is known about the gateway at the other end.
    pub(crate) fn facts(&self) -> &'static TunnelProfile {
        self.profile
            .as_ref()
            .map_or(Profile::Generic, |profile| profile.value)
            .facts()
    }

    /// The interface's name, written or not.
    pub(crate) fn interface(&self) -> String {
        self.interface.as_ref().map_or_else(
            || format!("cw-{}", self.name),
            |interface| interface.value.clone(),
        )
    }

    /// The peer's inside address: the one that is written, or the other one of the network.
    pub(crate) fn peer(&self) -> Option<Ipv4Addr> {
        if let Some(peer) = &self.peer_inside {
            return Some(peer.value);
        }
        let inside = self.inside.as_ref()?.value;
        let ours = inside.addr();
        match inside.prefix_len() {
            30 => inside.hosts().find(|host| *host != ours),
            31 => [inside.network(), inside.broadcast()]
                .into_iter()
                .find(|host| *host != ours),
            _ => None,
        }
    }
}

fn proposals<T: Read>(
    section: &Section<'_>,
    key: &str,
    report: &mut Report<'_>,
) -> Option<At<Vec<At<T>>>> {
    let list = section.list(key, report)?;
    let written = section
        .value(key)
        .and_then(|value| value.get_ref().as_array())
        .map_or(0, |array| array.len());
    if written == 0 {
        let message = format!("\"{key}\" is empty: nothing could be proposed");
        drop(
            report
                .error(Code::Proposal, list.span.clone(), message)
                .help("leave the key out for the profile's proposals"),
        );
    }
    Some(list)
}

impl Read for IkeProposal {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        proposal(value, Self::parse, report)
    }
}

impl Read for EspProposal {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        proposal(value, Self::parse, report)
    }
}

fn proposal<T>(
    value: &Spanned<DeValue<'_>>,
    parse: impl FnOnce(&str) -> Result<T, ProposalError>,
    report: &mut Report<'_>,
) -> Option<T> {
    let text = value::text(value, "a proposal in quotes", report)?;
    let error = match parse(text) {
        Ok(proposal) => return Some(proposal),
        Err(error) => error,
    };
    let span = match &error {
        // The quotation mark is one octet; with escapes in the text the place is not known.
        ProposalError::UnknownWord { word, at, .. } | ProposalError::Misplaced { word, at, .. }
            if value.span().len() == text.len() + 2 =>
        {
            let start = value.span().start + 1 + at;
            start..start + word.len()
        }
        _ => value.span(),
    };
    let draft = report.error(
        Code::Proposal,
        span,
        format!("proposal \"{text}\": {error}"),
    );
    match error {
        ProposalError::UnknownWord {
            near: Some(near), ..
        } => drop(draft.help(format!("did you mean \"{near}\"?"))),
        ProposalError::Missing { choices, .. } => {
            drop(draft.help(format!("add one of: {choices}")))
        }
        ProposalError::UnknownWord { near: None, .. } => {
            drop(draft.help("the words are listed by: causeway explain CW0115"));
        }
        ProposalError::Misplaced { .. } => {}
    }
    None
}

impl Read for Mtu {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        if value.get_ref().as_str() == Some("auto") {
            return Some(Self::Auto);
        }
        super::section::number(value, 0..=65_535, report).map(Self::Fixed)
    }
}
