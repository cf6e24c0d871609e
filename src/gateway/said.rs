//! What is wrong with a tunnel, in one line: what happened with our value and the peer's, then where to change it, in the site file and in
//! the cloud's console.
//!
//! `ike` knows what happened and both values, the plan knows who chose ours, the profile knows what the cloud calls its own. Here they meet.

use std::fmt::Write as _;
use std::net::IpAddr;

use config::Console;
use config::model::Origin;
use ike::wire::{Exchange, NotifyType};
use ike::{Cause, CertificateFault, Diagnosis, Identity, Negotiation, RefusedBy};
use serde::Serialize;

use crate::plan::TunnelPlan;

/// A line about a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// The whole of it.
    pub(crate) text: String,
    /// What in the site file and in the console it is about, the likeliest first.
    pub(crate) fields: Vec<Field>,
}

/// Something that both ends have to agree on, and where each end has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Field {
    /// The key of `[tunnel.NAME]`, or of `[gateway]` as `gateway.address`; none where no key changes it.
    pub(crate) key: Option<&'static str>,
    /// The line on which the site file has it; none where it does not.
    pub(crate) line: Option<usize>,
    /// Who chose our value, in words, where the site file does not have it.
    pub(crate) origin: Option<String>,
    /// What the cloud's console calls it, where the profile knows.
    pub(crate) console: Option<&'static str>,
}

/// What a failure is about.
#[derive(Clone, Copy)]
enum Topic {
    Psk,
    Certificate,
    Ppk,
    LocalId,
    RemoteId,
    Remote,
    Ike,
    Esp,
    /// The groups of the ESP proposals.
    PfsGroup,
    Pfs,
    Version,
    Selectors,
    Initiation,
    Address,
}

impl Topic {
    const fn key(self) -> Option<&'static str> {
        match self {
            Self::Psk => Some("psk"),
            Self::Certificate => Some("certificate"),
            Self::Ppk => Some("ppk"),
            Self::LocalId => Some("local-id"),
            Self::RemoteId => Some("remote-id"),
            Self::Remote => Some("remote"),
            Self::Ike => Some("ike"),
            Self::Esp | Self::PfsGroup => Some("esp"),
            Self::Pfs => Some("pfs"),
            Self::Initiation => Some("initiate"),
            Self::Address => Some("gateway.address"),
            // Ours are always IKEv2 and 0.0.0.0/0.
            Self::Version | Self::Selectors => None,
        }
    }

    const fn in_console(self, console: &'static Console) -> Option<&'static str> {
        match self {
            Self::Psk => Some(console.psk),
            Self::LocalId => Some(console.local_id),
            Self::RemoteId | Self::Remote => Some(console.remote),
            Self::Ike => Some(console.ike),
            Self::Esp => Some(console.esp),
            Self::PfsGroup => Some(console.pfs),
            Self::Version => Some(console.version),
            Self::Selectors => Some(console.selectors),
            Self::Initiation => Some(console.initiation),
            Self::Address => Some(console.address),
            // Clouds whose names we know have no certificates.
            Self::Certificate => None,
            // No console has a place for a PPK; what we accept beside the proposals is ours alone.
            Self::Ppk | Self::Pfs => None,
        }
    }

    fn field(self, plan: &TunnelPlan) -> Field {
        let console = plan.console.and_then(|console| self.in_console(console));
        let mut key = self.key();
        let mut origin = key.and_then(|key| plan.places.of(key));
        // Where our identity is the gateway's address, that is what there is to change.
        if let (Self::LocalId, Some(Origin::Derived { .. })) = (self, origin)
            && let Some(address @ Origin::File { .. }) = plan.places.of("gateway.address")
        {
            (key, origin) = (Some("gateway.address"), Some(address));
        }
        let (line, origin) = match origin {
            Some(Origin::File { line }) => (Some(*line), None),
            other => (None, other.map(ToString::to_string)),
        };
        Field {
            key,
            line,
            origin,
            console,
        }
    }
}

/// A failed exchange, said.
pub(crate) fn failure(diagnosis: &Diagnosis, plan: &TunnelPlan, source: Option<IpAddr>) -> Said {
    let (hint, topics) = match another_address(diagnosis, plan, source) {
        Some(hint) => (hint, vec![Topic::Address]),
        None => about(diagnosis, source),
    };
    say(format!("{diagnosis}{hint}"), plan, &topics)
}

/// What happened, and where to change it.
fn say(mut text: String, plan: &TunnelPlan, topics: &[Topic]) -> Said {
    let fields: Vec<Field> = topics.iter().map(|topic| topic.field(plan)).collect();
    let here: Vec<String> = fields
        .iter()
        .filter_map(|field| here(field, plan))
        .collect();
    if !here.is_empty() {
        let joint = if text.ends_with('?') { "" } else { ";" };
        let _ = write!(text, "{joint} site file: {}", here.join(", "));
    }
    let there: Vec<&str> = fields.iter().filter_map(|field| field.console).collect();
    if let (Some(console), false) = (plan.console, there.is_empty()) {
        let _ = write!(text, "; {}: {}", console.name, there.join(", "));
    }
    Said { text, fields }
}

/// A key with its line, or with where to write it.
fn here(field: &Field, plan: &TunnelPlan) -> Option<String> {
    let key = field.key?;
    let key = match key.strip_prefix("gateway.") {
        Some(key) => format!("{key} of [gateway]"),
        None => key.to_owned(),
    };
    Some(match (field.line, &field.origin) {
        (Some(line), _) => format!("{key} (line {line})"),
        (None, Some(origin)) => {
            let header = plan.line;
            format!(
                "{key} (not written, from {}; below line {header})",
                origin.trim_start_matches("from ")
            )
        }
        (None, None) => format!("{key} (not written; below line {})", plan.line),
    })
}

/// More than `ike` can know about a failure, and what it is about.
fn about(diagnosis: &Diagnosis, source: Option<IpAddr>) -> (String, Vec<Topic>) {
    let rekeys = diagnosis.exchange == Exchange::CreateChildSa;
    let nothing = String::new();
    match &diagnosis.cause {
        Cause::NoProposal {
            negotiation: Negotiation::Ike,
            theirs,
            ..
        } => {
            let mut topics = vec![Topic::Ike];
            // Gateways that only have IKEv1 for us say the same.
            if theirs.is_none() && !rekeys {
                topics.push(Topic::Version);
            }
            (nothing, topics)
        }
        Cause::NoProposal { nearest, .. } => {
            let is_group = !nearest.is_empty() && nearest.iter().all(|it| it.what == "group");
            let topic = if is_group {
                Topic::PfsGroup
            } else {
                Topic::Esp
            };
            (nothing, vec![topic])
        }
        Cause::PfsRefused { .. } => (nothing, vec![Topic::PfsGroup, Topic::Pfs]),
        Cause::InvalidKe {
            negotiation: Negotiation::Esp,
            ..
        } => (nothing, vec![Topic::PfsGroup]),
        Cause::InvalidKe { .. } => (nothing, vec![Topic::Ike]),
        Cause::Authentication { by, ours, ppk, .. } => {
            let ppk = ppk.is_some().then_some(Topic::Ppk);
            let keys = || std::iter::once(Topic::Psk).chain(ppk);
            match by {
                RefusedBy::Us => (nothing, keys().collect()),
                RefusedBy::Peer => {
                    let hint = identity(ours, source);
                    let name = std::iter::once(Topic::LocalId);
                    // A name that cannot be right is likelier than a key that was copied badly.
                    let topics = if hint.is_empty() {
                        keys().chain(name).collect()
                    } else {
                        name.chain(keys()).collect()
                    };
                    (hint, topics)
                }
            }
        }
        Cause::Ppk { .. } => (nothing, vec![Topic::Ppk]),
        Cause::IdMismatch { expected, got } => (types(expected, got), vec![Topic::RemoteId]),
        Cause::TsUnacceptable { .. } => (nothing, vec![Topic::Selectors]),
        Cause::NoAnswer { .. } => match diagnosis.exchange {
            // What was answered on port 500 goes on on port 4500.
            Exchange::IkeAuth | Exchange::IkeIntermediate => (
                " IKE_SA_INIT was answered, so the address is right and UDP 500 passes: "
                    .to_owned()
                    + match diagnosis.remote.port() {
                        500 => "see that nothing on the way drops long or fragmented packets",
                        _ => "it is UDP 4500 that does not",
                    },
                vec![],
            ),
            Exchange::Informational | Exchange::CreateChildSa | Exchange::IkeFollowupKe => (
                " It was answered before, so the peer or the way to it is gone".to_owned(),
                vec![],
            ),
            Exchange::IkeSaInit | Exchange::Other(_) => (nothing, vec![Topic::Remote]),
        },
        Cause::PeerRefused {
            notify,
            negotiation,
        } => match (*notify, negotiation) {
            (NotifyType::INVALID_MAJOR_VERSION, _) => (
                "; we speak IKEv2 and nothing else: set the peer to it".to_owned(),
                vec![Topic::Version],
            ),
            (_, Some(Negotiation::Ike)) => (nothing, vec![Topic::Ike]),
            (_, Some(Negotiation::Esp)) => (nothing, vec![Topic::Esp]),
            (_, None) => (nothing, Vec::new()),
        },
        Cause::AuthMethod { .. } => (nothing, vec![Topic::Psk]),
        Cause::Certificate { fault } => match &**fault {
            CertificateFault::Identity { .. } => (nothing, vec![Topic::RemoteId]),
            CertificateFault::Refused {
                ours,
                asks_for_others: false,
                ..
            } => {
                let topics = [Topic::Certificate, Topic::LocalId, Topic::RemoteId];
                (identity(ours, source), topics.to_vec())
            }
            _ => (nothing, vec![Topic::Certificate]),
        },
        Cause::Malformed { .. } | Cause::Local { .. } => (nothing, Vec::new()),
    }
}

/// Which SA a cause is about, where it says so.
pub(crate) const fn negotiation(cause: &Cause) -> Option<Negotiation> {
    match cause {
        Cause::NoProposal { negotiation, .. } | Cause::InvalidKe { negotiation, .. } => {
            Some(*negotiation)
        }
        Cause::TsUnacceptable { .. } | Cause::PfsRefused { .. } => Some(Negotiation::Esp),
        Cause::PeerRefused { negotiation, .. } => *negotiation,
        Cause::Authentication { .. }
        | Cause::Ppk { .. }
        | Cause::IdMismatch { .. }
        | Cause::NoAnswer { .. }
        | Cause::AuthMethod { .. }
        | Cause::Certificate { .. }
        | Cause::Malformed { .. }
        | Cause::Local { .. } => None,
    }
}

/// Why the peer may not know us by this identity.
fn identity(ours: &Identity, source: Option<IpAddr>) -> String {
    let address = match ours {
        Identity::Ipv4(address) => IpAddr::V4(*address),
        Identity::Ipv6(address) => IpAddr::V6(*address),
        Identity::Fqdn(name) if name.parse::<IpAddr>().is_ok() => {
            return format!(
                "; our ID is a name that reads like an address, and a peer that expects ID_IPV4_ADDR '{name}' takes it for another one: write it without @"
            );
        }
        _ => return String::new(),
    };
    match source.filter(|source| is_private(*source)) {
        Some(_) if is_private(address) => format!(
            "; we are behind a NAT and say our private address {address}, while the peer knows the NAT's: set address of [gateway], or local-id, to the public one"
        ),
        Some(source) => format!(
            "; we send from {source}, behind a NAT, so {address} has to be the address that the peer sees"
        ),
        None => String::new(),
    }
}

/// Two identities that look the same and are not.
fn types(expected: &Identity, got: &Identity) -> String {
    if expected.to_string() != got.to_string() {
        return String::new();
    }
    "; the text is the same and the type is not: an address is written as it is, a name with @ in front".to_owned()
}

/// Where the peer does not want to know us, and the address that we send from is neither the one that it knows nor one that a NAT could
/// turn into it: that is why, whatever the peer says.
fn another_address(
    diagnosis: &Diagnosis,
    plan: &TunnelPlan,
    source: Option<IpAddr>,
) -> Option<String> {
    let begins = matches!(diagnosis.exchange, Exchange::IkeSaInit | Exchange::IkeAuth);
    let is_refused = match &diagnosis.cause {
        Cause::NoProposal { theirs, .. } => theirs.is_none(),
        Cause::Authentication { by, .. } => *by == RefusedBy::Peer,
        Cause::NoAnswer { .. } | Cause::PeerRefused { .. } => true,
        _ => false,
    };
    let (source, known) = (source?, plan.known_address?);
    (begins && is_refused && source != known && !is_private(source)).then(|| {
        format!("; we send from {source}, and the peer knows this gateway as {known}: its public address has changed")
    })
}

/// The peer has to initiate, and has not.
pub(crate) fn waiting(plan: &TunnelPlan) -> String {
    let remote = plan.connection.remote;
    let text =
        format!("waiting for {remote} to initiate, because the site file says initiate = false");
    say(text, plan, &[Topic::Initiation]).text
}

/// The peer has chosen other algorithms than before.
pub(crate) fn drift(plan: &TunnelPlan, what: Negotiation, before: &str, now: &str) -> String {
    let (what, topic) = match what {
        Negotiation::Ike => ("IKE (phase 1)", Topic::Ike),
        Negotiation::Esp => ("ESP (phase 2)", Topic::Esp),
    };
    let text = format!(
        "{}: the {what} suite was {before} and is {now} now: both ends accept both, and which it is depends on who asks; leave one of them",
        plan.name
    );
    say(text, plan, &[topic]).text
}

/// Whether an address is one that only a NAT takes to the internet.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            // 100.64.0.0/10 is the carrier's side of a NAT (RFC 6598).
            let is_shared = first == 100 && (64..128).contains(&second);
            address.is_private() || address.is_link_local() || address.is_loopback() || is_shared
        }
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
