//! Certificates in place of pre-shared keys: what the profile and whoever has the files say about them.

use crate::code::Code;
use crate::diagnostic::{Report, Severity};
use crate::model::Identity;
use crate::read::{At, RawSite, RawTunnel};
use crate::secrets::{CertificatePart, Identities, Secrets};

pub(super) fn check(raw: &RawSite, secrets: &dyn Secrets, report: &mut Report<'_>) {
    for tunnel in &raw.tunnels {
        names(tunnel, report);
        if tunnel.certificate.is_some() {
            judge(tunnel, raw, secrets, report);
        }
    }
}

/// A distinguished name is the subject of a certificate, and there is none beside a pre-shared key.
fn names(tunnel: &RawTunnel, report: &mut Report<'_>) {
    for id in [&tunnel.local_id, &tunnel.remote_id].into_iter().flatten() {
        if let (Identity::DistinguishedName(name), Some(psk)) = (&id.value, &tunnel.psk) {
            let message = format!(
                "tunnel {}: \"{name}\" is the subject of a certificate, and the tunnel has a pre-shared key",
                tunnel.name
            );
            drop(
                report
                    .error(Code::ConflictingKeys, id.span.clone(), message)
                    .also(psk.span.clone(), "the pre-shared key")
                    .help("write an address, a host name or a mail address"),
            );
        }
    }
}

fn judge(tunnel: &RawTunnel, raw: &RawSite, secrets: &dyn Secrets, report: &mut Report<'_>) {
    let Some(At { value, span }) = &tunnel.certificate else {
        return;
    };
    let facts = tunnel.facts();
    if !facts.certificates {
        let message = format!(
            "tunnel {}: {} takes pre-shared keys alone, so the tunnel would never come up",
            tunnel.name, facts.peer
        );
        drop(
            report
                .error(Code::Certificate, span.clone(), message)
                .help("write psk in place of certificate"),
        );
    }
    let address = (raw.gateway.fixed()).map(|address| Identity::Address(address.value.into()));
    let ids = Identities {
        local: (tunnel.local_id.as_ref())
            .map(|id| &id.value)
            .or(address.as_ref()),
        remote: tunnel.remote_id.as_ref().map(|id| &id.value),
    };
    for problem in secrets.judge(&value.model(), ids) {
        let place = match problem.part {
            CertificatePart::File => value.file.span.clone(),
            CertificatePart::Key => value.key.span.clone(),
            CertificatePart::Ca => value.ca.span.clone(),
            CertificatePart::Crl => {
                (value.crl.as_ref()).map_or(span.clone(), |crl| crl.span.clone())
            }
            CertificatePart::LocalId => {
                (tunnel.local_id.as_ref()).map_or(value.file.span.clone(), |id| id.span.clone())
            }
            CertificatePart::RemoteId => {
                (tunnel.remote_id.as_ref()).map_or(span.clone(), |id| id.span.clone())
            }
        };
        let message = format!("tunnel {}: {}", tunnel.name, problem.reason);
        let draft = if problem.severity == Severity::Error {
            report.error(Code::Certificate, place, message)
        } else {
            report.warning(Code::CertificateEnds, place, message)
        };
        if let Some(help) = problem.help {
            drop(draft.help(help));
        }
    }
}
