//! Certificates from the files that the site file names: ours with its key, and those that we trust.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use config::model::{self, SecretSource};
use config::{CertificatePart, CertificateProblem, Identities, Severity};
use crypto::Secret;
use crypto::signature::SigningKey;
use crypto::x509::{Certificate, Credential, DistinguishedName, Trust, date};
use ike::{Certificates, Identity};
use nix::fcntl::OFlag;

use crate::secrets::SecretError;

/// A file of certificates or revocation lists has no more octets: the largest list of a public authority fits.
const MOST_OCTETS: u64 = 32 << 20;

/// So long before its last day a certificate is worth a word, in seconds.
const NOTICE: u64 = 30 * 86_400;

/// Reads everything. `fetch` gets the private key.
///
/// # Errors
/// The first problem, with what it is about.
pub(crate) fn load(
    from: &model::Certificate,
    fetch: fn(&SecretSource) -> Result<Secret, SecretError>,
) -> Result<Certificates, CertificateProblem> {
    let problem = |part, reason: String, help: Option<String>| CertificateProblem {
        part,
        severity: Severity::Error,
        reason,
        help,
    };
    let of = |part, path: &Path| read(path).map_err(|reason| problem(part, reason, None));
    let whose = |part, path: &Path, why: &dyn std::fmt::Display| {
        problem(part, format!("{} {why}", path.display()), None)
    };
    let own = of(CertificatePart::File, &from.file)?;
    let key = fetch(&from.key)
        .map_err(|error| problem(CertificatePart::Key, error.to_string(), error.help()))?;
    let key = SigningKey::from_pem(&key).map_err(|error| {
        problem(
            CertificatePart::Key,
            format!("the {} {error}", from.key),
            None,
        )
    })?;
    let credential = Credential::new(&own, key).map_err(|error| {
        let help = match error {
            crypto::x509::CredentialError::OtherKey { .. } => Some(format!(
                "put our own certificate first in {}, and its key into the {}",
                from.file.display(),
                from.key
            )),
            _ => None,
        };
        problem(
            CertificatePart::File,
            format!("{}: {error}", from.file.display()),
            help,
        )
    })?;
    let authorities = of(CertificatePart::Ca, &from.ca)?;
    let mut trust =
        Trust::new(&authorities).map_err(|error| whose(CertificatePart::Ca, &from.ca, &error))?;
    if let Some(path) = &from.crl {
        let lists = of(CertificatePart::Crl, path)?;
        trust =
            (trust.with_crls(&lists)).map_err(|error| whose(CertificatePart::Crl, path, &error))?;
    }
    Ok(Certificates { credential, trust })
}

/// What is wrong with the certificates that the site file names, or with the identities beside them.
pub(crate) fn judge(
    from: &model::Certificate,
    ids: Identities<'_>,
    fetch: fn(&SecretSource) -> Result<Secret, SecretError>,
) -> Vec<CertificateProblem> {
    let mut problems = Vec::new();
    let mut add = |part, severity, reason: String, help: Option<String>| {
        problems.push(CertificateProblem {
            part,
            severity,
            reason,
            help,
        });
    };
    for (part, id) in [
        (CertificatePart::LocalId, ids.local),
        (CertificatePart::RemoteId, ids.remote),
    ] {
        if let Some(model::Identity::DistinguishedName(text)) = id
            && DistinguishedName::parse(text).is_none()
        {
            let reason = format!("\"{text}\" is not the subject of a certificate");
            let help = "write it in the certificate's order, as openssl x509 -noout -subject shows it: \"C=DE, O=Example, CN=gateway\"";
            add(part, Severity::Error, reason, Some(help.to_owned()));
        }
    }
    let certificates = match load(from, fetch) {
        Ok(certificates) => certificates,
        Err(problem) => {
            problems.push(problem);
            return problems;
        }
    };
    let Some(own) = certificates.credential.certificate() else {
        return problems;
    };
    let (subject, (begins, ends), now) = (own.subject(), own.validity(), unix_time());
    let part = CertificatePart::File;
    if now < begins {
        let reason = format!(
            "the certificate of {subject} is not valid yet: it begins on {}, and our clock says {}",
            date(begins),
            date(now)
        );
        add(part, Severity::Error, reason, None);
    } else if now > ends {
        let reason = format!("the certificate of {subject} has expired on {}", date(ends));
        let help = "put a new one into the file; the same key may stay";
        add(part, Severity::Error, reason, Some(help.to_owned()));
    } else if let Some(reason) = ending(own, now) {
        add(part, Severity::Warning, reason, None);
    }
    match ids.local.and_then(identity) {
        // A name that cannot be read has been told of.
        None if ids.local.is_some() => {}
        None => {
            let reason =
                "our address may change, so the certificate needs a local-id that is in it";
            add(part, Severity::Error, reason.to_owned(), Some(choices(own)));
        }
        Some(id) if !certificates.names(&id) => {
            let reason = format!("our ID, {id:?}, is not in the certificate of {subject}");
            let part = CertificatePart::LocalId;
            add(part, Severity::Error, reason, Some(choices(own)));
        }
        Some(_) => {}
    }
    problems
}

/// That our certificate ends within thirty days, in words.
pub(crate) fn ending(own: &Certificate, now: u64) -> Option<String> {
    let (_, ends) = own.validity();
    let what = if ends < now { "has expired" } else { "ends" };
    (ends < now + NOTICE).then(|| {
        format!(
            "our certificate of {} {what} on {}: put a new one in its place and reload",
            own.subject(),
            date(ends)
        )
    })
}

/// What a local-id may be, by our certificate.
fn choices(own: &Certificate) -> String {
    let names = own.names().iter().take(8).map(ToString::to_string);
    let subject = std::iter::once(own.subject().to_string());
    let list: Vec<String> = names
        .chain(subject)
        .map(|name| format!("\"{name}\""))
        .collect();
    format!("write local-id = {}", list.join(" or "))
}

/// An identity of the site file; none where a distinguished name cannot be read.
pub(crate) fn identity(identity: &model::Identity) -> Option<Identity> {
    Some(match identity {
        model::Identity::Address(address) => Identity::from(*address),
        model::Identity::Fqdn(name) => Identity::Fqdn(name.clone()),
        model::Identity::Email(name) => Identity::Email(name.clone()),
        model::Identity::DistinguishedName(text) => {
            Identity::Dn(DistinguishedName::parse(text)?.der().to_vec())
        }
    })
}

/// The time of day, in seconds since 1970 began.
pub(crate) fn unix_time() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed =
        |reason: &dyn std::fmt::Display| format!("cannot read {}: {reason}", path.display());
    let file = fs::OpenOptions::new()
        .read(true)
        // A pipe that nobody writes to would stop the whole daemon at a reload.
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(|error| failed(&error))?;
    let metadata = file.metadata().map_err(|error| failed(&error))?;
    if !metadata.is_file() {
        return Err(failed(&"it is not a regular file"));
    }
    let mut octets = Vec::new();
    (file.take(MOST_OCTETS + 1).read_to_end(&mut octets)).map_err(|error| failed(&error))?;
    if octets.len() as u64 > MOST_OCTETS {
        return Err(failed(&format_args!(
            "it has more than {MOST_OCTETS} octets"
        )));
    }
    Ok(octets)
}
