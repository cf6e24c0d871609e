//! What went wrong, said so that a person knows what to change.
//!
//! A [`Diagnosis`] carries both sides' values as far as they are known: a responder that refuses
//! knows both offers, an initiator that is refused knows its own only and says so.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crypto::Group;
use serde::Serialize;

use crate::connection::ConnectionId;
use crate::describe::{self, Offer};
use crate::event::Role;
use crate::select::{Difference, Mismatch};
use crate::wire::{Exchange, Identity, NotifyType, TrafficSelector};

/// Why an exchange of a connection failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The connection.
    pub connection: ConnectionId,
    /// Its name.
    pub name: String,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The exchange that failed.
    pub exchange: Exchange,
    /// Whether we had started it.
    pub role: Role,
    /// What failed.
    pub cause: Cause,
}

/// What an algorithm negotiation was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Negotiation {
    /// The IKE SA ("phase 1").
    Ike,
    /// A CHILD_SA ("phase 2").
    Esp,
}

/// Which side refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum RefusedBy {
    /// We did.
    Us,
    /// The peer did.
    Peer,
}

/// How post-quantum pre-shared keys fail to meet. Where the peer finds out, it says no more than AUTHENTICATION_FAILED.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum PpkFault {
    /// We require ours, and the peer has or uses none.
    Missing,
    /// The peer names another one and can do with nothing else.
    Unknown {
        /// Its name.
        theirs: String,
    },
    /// The peer proves to know the pre-shared key, and its PPK of the same name is another key.
    Differ,
}

/// How a proof by certificates fails here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum CertificateFault {
    /// The peer sends none.
    Missing,
    /// The peer proves itself by another method than a signature that we accept.
    Method {
        /// Number of its method.
        method: u8,
    },
    /// The chain is not accepted.
    Untrusted {
        /// Whom the certificate is about, if it can be read.
        subject: Option<String>,
        /// Why.
        reason: String,
    },
    /// The certificate does not have the identity that the peer says.
    Identity {
        /// Whom the certificate is about.
        subject: String,
        /// Who the peer says that it is.
        identity: Identity,
        /// Names in the certificate beside the subject.
        names: Vec<String>,
    },
    /// The signature is not by the certificate's key.
    Signature {
        /// Whom the certificate is about.
        subject: String,
        /// What its key is.
        key: String,
        /// How the signature claims to be made; none where it is a way that we do not accept.
        scheme: Option<String>,
    },
    /// The peer refuses our certificate, our identity, or our signature, with AUTHENTICATION_FAILED.
    Refused {
        /// The identity that we send.
        ours: Identity,
        /// Whom we expect, which the peer does not find itself to be.
        theirs: Identity,
        /// Whom our certificate is about.
        subject: String,
        /// Who has signed it.
        issuer: String,
        /// By its CERTREQ the peer trusts others and not that one.
        asks_for_others: bool,
    },
    /// The peer can verify no signature that our key makes.
    PeerCannotVerify {
        /// What our key is.
        key: String,
        /// The hash algorithms that the peer names (RFC 7427); none where it knows nothing of that.
        hashes: Option<Vec<u16>>,
    },
}

/// The causes of failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Cause {
    /// The proposals have nothing in common.
    NoProposal {
        /// IKE or ESP.
        negotiation: Negotiation,
        /// What we offer or accept.
        ours: Offer,
        /// What the peer offers; unknown where the peer refuses, because it does not say.
        theirs: Option<Offer>,
        /// How the nearest pair differs.
        nearest: Vec<Difference>,
    },
    /// The proof of identity failed: nearly always two different pre-shared keys.
    Authentication {
        /// Who found out.
        by: RefusedBy,
        /// The identity that we send.
        ours: Identity,
        /// The peer's identity.
        theirs: Identity,
        /// The PPK that went into the proof too, by its name.
        ppk: Option<String>,
    },
    /// The post-quantum pre-shared keys do not meet (RFC 8784).
    Ppk {
        /// How.
        fault: PpkFault,
        /// Ours, by its name; none if we have none.
        ours: Option<String>,
    },
    /// The peer says that it is somebody else.
    IdMismatch {
        /// Who it has to be.
        expected: Identity,
        /// Who it says that it is.
        got: Identity,
    },
    /// The traffic selectors have nothing usable in common.
    TsUnacceptable {
        /// Our side of the traffic and the peer's, as we have them.
        ours: Selectors,
        /// The same as the peer has it, seen from here; unknown where the peer refuses.
        theirs: Option<Selectors>,
    },
    /// The peer wants a Diffie-Hellman group that we do not accept.
    InvalidKe {
        /// IKE or ESP.
        negotiation: Negotiation,
        /// Groups that we accept.
        ours: Vec<String>,
        /// The group that the peer asks for.
        wanted: String,
    },
    /// The peer refuses to replace a CHILD_SA whose ciphers it has accepted before: what a rekey adds is the
    /// Diffie-Hellman group, which the child of IKE_AUTH does not have (RFC 7296 section 1.2).
    PfsRefused {
        /// How it refused.
        notify: NotifyType,
        /// Groups that were tried; `none` is no exchange at all.
        tried: Vec<String>,
    },
    /// Nothing came back.
    NoAnswer {
        /// Fresh attempts so far, this one included.
        attempts: u32,
        /// Time that this one waited.
        waited: Duration,
    },
    /// The peer refused with a notification that has no case of its own here.
    PeerRefused {
        /// What was negotiated, where that is known.
        negotiation: Option<Negotiation>,
        /// What it said.
        notify: NotifyType,
    },
    /// The peer wants to prove itself by a method other than a pre-shared key.
    AuthMethod {
        /// Number of its method.
        method: u8,
    },
    /// Certificates, or signatures made with their keys, do not do.
    Certificate {
        /// Why.
        fault: Box<CertificateFault>,
    },
    /// The peer's message breaks the protocol.
    Malformed {
        /// How.
        what: String,
    },
    /// Something on our side. Never told to the peer as a fault of the negotiation.
    Local {
        /// What.
        what: String,
    },
}

/// Both sides of a CHILD_SA's traffic, seen from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Selectors {
    /// Our side.
    pub local: Vec<TrafficSelector>,
    /// The peer's side.
    pub remote: Vec<TrafficSelector>,
}

impl fmt::Display for Selectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |list: &[TrafficSelector]| {
            list.iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        write!(
            f,
            "{} (here) = {} (there)",
            join(&self.local),
            join(&self.remote)
        )
    }
}

impl Cause {
    pub(crate) fn no_proposal(negotiation: Negotiation, mismatch: Mismatch) -> Self {
        Self::NoProposal {
            negotiation,
            ours: mismatch.ours,
            theirs: Some(mismatch.theirs),
            nearest: mismatch.nearest,
        }
    }

    pub(crate) fn malformed(what: &str) -> Self {
        Self::Malformed {
            what: what.to_owned(),
        }
    }

    pub(crate) fn invalid_ke(negotiation: Negotiation, ours: &[Group], wanted: u16) -> Self {
        Self::InvalidKe {
            negotiation,
            ours: ours.iter().map(ToString::to_string).collect(),
            wanted: describe::group(wanted),
        }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} with {}: {}: {}",
            self.name, self.remote, self.exchange, self.cause
        )
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProposal {
                negotiation,
                ours,
                theirs,
                nearest,
            } => no_proposal(f, *negotiation, ours, theirs.as_ref(), nearest),
            Self::Authentication {
                by: RefusedBy::Us,
                ours,
                theirs,
                ppk,
            } => {
                write!(
                    f,
                    "the peer's proof as {theirs:?} does not verify (we are {ours:?}): \
                     the pre-shared keys differ"
                )?;
                ppk.iter()
                    .try_for_each(|id| write!(f, ", or the post-quantum keys (PPK) '{id}' do"))
            }
            Self::Authentication {
                by: RefusedBy::Peer,
                ours,
                theirs,
                ppk,
            } => {
                write!(
                    f,
                    "the peer refuses us with AUTHENTICATION_FAILED: we say {ours:?} and expect \
                     {theirs:?}; the pre-shared keys differ, "
                )?;
                ppk.iter().try_for_each(|id| {
                    write!(
                        f,
                        "or the post-quantum keys (PPK) do, or the peer's is not named '{id}', "
                    )
                })?;
                f.write_str("or the peer expects another ID of us")
            }
            Self::Ppk { fault, ours } => ppk(f, fault, ours.as_deref()),
            Self::IdMismatch { expected, got } => write!(
                f,
                "the peer says it is {got:?}, we expect {expected:?}: set our remote ID to the \
                 former, or the peer's own ID to the latter"
            ),
            Self::TsUnacceptable {
                ours,
                theirs: Some(theirs),
            } => write!(
                f,
                "traffic selectors do not meet: we have {ours}, the peer has {theirs}; both ends \
                 need the same pair, 0.0.0.0/0 = 0.0.0.0/0 for a route-based tunnel"
            ),
            Self::TsUnacceptable { ours, theirs: None } => write!(
                f,
                "the peer refuses our traffic selectors {ours} and does not say what it wants; \
                 make the peer's encryption domain the same pair"
            ),
            Self::InvalidKe { ours, wanted, .. } => {
                let ours = if ours.is_empty() {
                    "none".to_owned()
                } else {
                    ours.join(", ")
                };
                write!(
                    f,
                    "the peer wants Diffie-Hellman group {wanted}, we accept {ours}: add {wanted} \
                     here, or choose one of ours there"
                )
            }
            Self::PfsRefused { notify, tried } => write!(
                f,
                "the peer refuses to rekey the CHILD_SA with {notify}: the tunnel goes on until its CHILD_SA expires, and is \
                 then set up afresh. \
                 The ciphers were accepted before, so what it refuses is the Diffie-Hellman group (PFS); tried: {}. \
                 Put the peer's PFS group into esp, or let pfs permit what it wants, or set PFS there to one of ours",
                tried.join(", ")
            ),
            Self::NoAnswer { attempts, waited } => write!(
                f,
                "no answer after {:.1} s (attempt {attempts}): is the address right, and are UDP \
                 500 and 4500 open on the way?",
                waited.as_secs_f32()
            ),
            Self::PeerRefused { notify, .. } => write!(f, "the peer refuses with {notify}"),
            Self::AuthMethod { method } => write!(
                f,
                "the peer authenticates by method {method}, we by pre-shared key (method 2): \
                 set the peer to a shared secret"
            ),
            Self::Certificate { fault } => certificate(f, fault),
            Self::Malformed { what } => write!(f, "the peer's message breaks the protocol: {what}"),
            Self::Local { what } => write!(f, "failure on our side: {what}"),
        }
    }
}

fn certificate(f: &mut fmt::Formatter<'_>, fault: &CertificateFault) -> fmt::Result {
    match fault {
        CertificateFault::Missing => f.write_str(
            "the peer sends no certificate, and this tunnel has no other proof: have it send its own (strongSwan: send_cert = always)",
        ),
        CertificateFault::Method { method: 1 } => f.write_str(
            "the peer signs by RSA with SHA-1 (method 1), which is not accepted: it needs RFC 7427 signatures, or an ECDSA key",
        ),
        CertificateFault::Method { method: 2 } => f.write_str(
            "the peer authenticates by pre-shared key (method 2), this tunnel by certificate: set the peer to certificates, or \
             write psk here",
        ),
        CertificateFault::Method { method } => write!(
            f,
            "the peer authenticates by method {method}, this tunnel by certificate: digital signatures (method 14) or ECDSA (9, 10)"
        ),
        CertificateFault::Untrusted { subject, reason } => match subject {
            Some(subject) => write!(f, "the peer's certificate of {subject} is refused: {reason}"),
            None => write!(f, "the peer's certificate is refused: {reason}"),
        },
        CertificateFault::Identity {
            subject,
            identity,
            names,
        } => {
            write!(
                f,
                "the peer says it is {identity:?}, and its certificate is about {subject}, "
            )?;
            match names.as_slice() {
                [] => f.write_str("with no other names (subjectAltName)")?,
                names => write!(f, "also named {} (subjectAltName)", names.join(" and "))?,
            }
            f.write_str(": expect one of these of it, or give it a certificate with its ID")
        }
        CertificateFault::Signature {
            subject,
            key,
            scheme: Some(scheme),
        } => write!(
            f,
            "the peer's signature, {scheme}, is not by the {key} key in its certificate of {subject}"
        ),
        CertificateFault::Signature { key, .. } => write!(
            f,
            "the peer signs with its {key} key by an algorithm that is not accepted: expected RSA-PSS or PKCS #1 with SHA-2, ECDSA \
             with SHA-2, or Ed25519"
        ),
            CertificateFault::Refused {
                ours,
                theirs,
                subject,
                issuer,
                asks_for_others,
            } => {
                write!(
                    f,
                    "the peer refuses us with AUTHENTICATION_FAILED: we show the certificate of {subject}, say {ours:?} and expect \
                     {theirs:?}; "
                )?;
                if *asks_for_others {
                    write!(
                        f,
                        "the peer asks for certificates of other authorities than ours, {issuer}: have it trust that one, or take a \
                         certificate of one that it trusts"
                    )
                } else {
                    write!(
                        f,
                        "the peer does not trust our certificate's authority, {issuer}, or expects another ID of us, or is not \
                         {theirs:?} itself"
                    )
                }
            }
        CertificateFault::PeerCannotVerify { key, hashes: None } => write!(
            f,
            "the peer knows no RFC 7427 signatures (it sends no SIGNATURE_HASH_ALGORITHMS), so for our {key} key there is only \
             a method that is not used or not there: use an ECDSA key here, or a newer peer"
        ),
        CertificateFault::PeerCannotVerify {
            key,
            hashes: Some(hashes),
        } => write!(
            f,
            "the peer verifies signatures with hash algorithms {hashes:?} (IANA's numbers), and our {key} key signs with none of them: \
             use another key here, or permit the peer more"
        ),
    }
}

fn ppk(f: &mut fmt::Formatter<'_>, fault: &PpkFault, ours: Option<&str>) -> fmt::Result {
    match (fault, ours) {
        (PpkFault::Missing, ours) => write!(
            f,
            "the peer uses no post-quantum key (PPK), we require ours, '{}': give the peer the same, or let ours be optional",
            ours.unwrap_or_default()
        ),
        (PpkFault::Unknown { theirs }, Some(ours)) => write!(
            f,
            "the peer names the post-quantum key (PPK) '{theirs}', ours is '{ours}': both ends need the same name and key"
        ),
        (PpkFault::Unknown { theirs }, None) => write!(
            f,
            "the peer requires the post-quantum key (PPK) '{theirs}', we have none: add it here, or let the peer's be optional"
        ),
        (PpkFault::Differ, ours) => write!(
            f,
            "the post-quantum keys (PPK) '{}' differ; the pre-shared keys are the same",
            ours.unwrap_or_default()
        ),
    }
}

fn no_proposal(
    f: &mut fmt::Formatter<'_>,
    negotiation: Negotiation,
    ours: &Offer,
    theirs: Option<&Offer>,
    nearest: &[Difference],
) -> fmt::Result {
    let what = match negotiation {
        Negotiation::Ike => "IKE (phase 1)",
        Negotiation::Esp => "ESP (phase 2)",
    };
    let Some(theirs) = theirs else {
        return write!(
            f,
            "the peer refuses our {what} proposal {ours} with NO_PROPOSAL_CHOSEN and does not say \
             what it wants; compare with the peer's {what} settings"
        );
    };
    write!(
        f,
        "no common {what} proposal: we accept {ours}, the peer offers {theirs}"
    )?;
    for (i, difference) in nearest.iter().enumerate() {
        let Difference { what, ours, theirs } = difference;
        let joint = if i == 0 { "; nearest:" } else { "," };
        write!(f, "{joint} {what} {ours} here against {theirs} there")?;
    }
    Ok(())
}
