//! One tunnel's cryptography and timing, and its secret.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::code::Code;
use crate::diagnostic::Report;
use crate::model::{Mtu, SecretSource, duration_text};
use crate::profile::Accepts;
use crate::proposal::{Encryption, Group, Integrity};
use crate::read::{At, RawSite, RawTunnel};
use crate::secrets::{SecretUnavailable, Secrets};

pub(super) fn check(tunnel: &RawTunnel, report: &mut Report<'_>) {
    proposals(tunnel, report);
    durations(tunnel, report);
    let Some(At {
        value: Mtu::Fixed(mtu),
        span,
    }) = tunnel.mtu.clone()
    else {
        return;
    };
    if !(576..=9_000).contains(&mtu) {
        let message = format!(
            "tunnel {}: an MTU of {mtu} is not from 576 to 9000",
            tunnel.name
        );
        drop(
            report
                .error(Code::Mtu, span, message)
                .help("\"auto\" takes what fits"),
        );
    } else if mtu > 1_446 {
        let message = format!(
            "tunnel {}: with an MTU of {mtu} encrypted packets exceed 1500 octets",
            tunnel.name
        );
        drop(
            report
                .warning(Code::Mtu, span, message)
                .help("\"auto\" takes what fits"),
        );
    }
}

/// What one proposal consists of, in either phase.
struct Suite<'p> {
    at: &'p Range<usize>,
    encryption: Encryption,
    integrity: Option<Integrity>,
    groups: &'p [Group],
}

fn proposals(tunnel: &RawTunnel, report: &mut Report<'_>) {
    let accepts = tunnel.facts().accepts.as_ref();
    for At { value, span: at } in tunnel.ike.iter().flat_map(|list| &list.value) {
        let suite = Suite {
            at,
            encryption: value.encryption,
            integrity: value.integrity,
            groups: &value.groups,
        };
        legacy(&suite, report);
        if accepts.is_some() && !value.kems.is_empty() {
            let (facts, name) = (tunnel.facts(), &tunnel.name);
            let kems: Vec<String> = value.kems.iter().map(ToString::to_string).collect();
            let message = format!(
                "tunnel {name}: {} has no additional key exchange ({})",
                facts.peer,
                kems.join(", ")
            );
            drop(
                report
                    .error(Code::NotAccepted, at.clone(), message)
                    .help(format!("recommended: {}", facts.ike.join(", "))),
            );
        }
        if let Some(Accepts {
            ike_encryption,
            ike_integrity,
            groups,
            ..
        }) = accepts
        {
            accepted(
                tunnel,
                "ike",
                &suite,
                (ike_encryption, ike_integrity, groups),
                report,
            );
        }
    }
    for At { value, span: at } in tunnel.esp.iter().flat_map(|list| &list.value) {
        let suite = Suite {
            at,
            encryption: value.encryption,
            integrity: value.integrity,
            groups: &value.groups,
        };
        legacy(&suite, report);
        if let Some(Accepts {
            esp_encryption,
            esp_integrity,
            groups,
            ..
        }) = accepts
        {
            accepted(
                tunnel,
                "esp",
                &suite,
                (esp_encryption, esp_integrity, groups),
                report,
            );
        }
    }
}

fn legacy(suite: &Suite<'_>, report: &mut Report<'_>) {
    for group in suite
        .groups
        .iter()
        .filter(|group| matches!(group, Group::Modp1024 | Group::Modp1536))
    {
        let message = format!("{group} is legacy: RFC 8247 says SHOULD NOT");
        drop(
            report
                .warning(Code::LegacyAlgorithm, suite.at.clone(), message)
                .help("if the peer can: ecp384 or modp2048"),
        );
    }
    if suite.integrity == Some(Integrity::HmacSha1_96) {
        let message = "sha1 is kept for peers that know nothing newer";
        drop(
            report
                .note(Code::LegacyAlgorithm, suite.at.clone(), message)
                .help("if the peer can: sha256 or sha384"),
        );
    }
}

fn accepted(
    tunnel: &RawTunnel,
    phase: &str,
    suite: &Suite<'_>,
    (encryption, integrity, groups): (&[Encryption], &[Integrity], &[Group]),
    report: &mut Report<'_>,
) {
    let mut refused: Vec<String> = Vec::new();
    if !encryption.contains(&suite.encryption) {
        refused.push(suite.encryption.to_string());
    }
    refused.extend(
        suite
            .integrity
            .filter(|each| !integrity.contains(each))
            .map(|each| each.to_string()),
    );
    refused.extend(
        suite
            .groups
            .iter()
            .filter(|each| !groups.contains(each))
            .map(ToString::to_string),
    );
    if refused.is_empty() {
        return;
    }
    let facts = tunnel.facts();
    let message = format!(
        "tunnel {}: {} does not list {} among what it accepts for {phase}",
        tunnel.name,
        facts.peer,
        refused.join(", ")
    );
    let recommended = if phase == "ike" { facts.ike } else { facts.esp };
    drop(
        report
            .warning(Code::NotAccepted, suite.at.clone(), message)
            .help(format!("recommended: {}", recommended.join(", "))),
    );
}

fn durations(tunnel: &RawTunnel, report: &mut Report<'_>) {
    let facts = tunnel.facts();
    let value =
        |written: &Option<At<Duration>>, default| written.as_ref().map_or(default, |at| at.value);
    let day = Duration::from_secs(86_400);
    for (key, written, least) in [
        (
            "ike-lifetime",
            &tunnel.ike_lifetime,
            Duration::from_secs(300),
        ),
        (
            "child-lifetime",
            &tunnel.child_lifetime,
            Duration::from_secs(120),
        ),
    ] {
        let Some(At { value, span }) = written else {
            continue;
        };
        let text = duration_text(*value);
        if *value < least {
            let message = format!(
                "tunnel {}: {key} of {text} is too short to rekey in time",
                tunnel.name
            );
            let help = format!("at least {}", duration_text(least));
            drop(
                report
                    .error(Code::Duration, span.clone(), message)
                    .help(help),
            );
        } else if *value > day {
            let message = format!("tunnel {}: {key} of {text} is more than a day", tunnel.name);
            drop(report.warning(Code::Duration, span.clone(), message));
        }
    }
    if let Some(At { value: child, span }) = &tunnel.child_lifetime
        && *child > value(&tunnel.ike_lifetime, facts.ike_lifetime)
    {
        let message = format!(
            "tunnel {}: the CHILD_SAs would outlive their IKE SA",
            tunnel.name
        );
        drop(report.warning(Code::Duration, span.clone(), message));
    }
    let (liveness, timeout) = (
        value(&tunnel.liveness, facts.liveness),
        value(&tunnel.liveness_timeout, facts.liveness_timeout),
    );
    for (key, written) in [
        ("liveness", &tunnel.liveness),
        ("liveness-timeout", &tunnel.liveness_timeout),
    ] {
        let Some(At { value, span }) = written else {
            continue;
        };
        if *value < Duration::from_secs(1) || *value > Duration::from_secs(3_600) {
            let message = format!(
                "tunnel {}: {key} of {} is not from 1s to 1h",
                tunnel.name,
                duration_text(*value)
            );
            drop(report.error(Code::Duration, span.clone(), message));
        }
    }
    if timeout < liveness
        && let Some(At { span, .. }) = tunnel
            .liveness_timeout
            .as_ref()
            .or(tunnel.liveness.as_ref())
    {
        let (timeout, liveness) = (duration_text(timeout), duration_text(liveness));
        let message = format!(
            "tunnel {}: liveness-timeout {timeout} is shorter than liveness {liveness}",
            tunnel.name
        );
        drop(report.warning(Code::Duration, span.clone(), message));
    }
}

/// What a look at a secret tells; nothing of the secret.
struct Seen {
    octets: usize,
    /// The first octet that the profile does not allow, counted from 1.
    wrong: Option<usize>,
}

pub(super) fn check_secrets(raw: &RawSite, secrets: &dyn Secrets, report: &mut Report<'_>) {
    let mut first: BTreeMap<&SecretSource, (&str, Range<usize>)> = BTreeMap::new();
    for tunnel in &raw.tunnels {
        check_ppk(tunnel, secrets, report);
        let Some(At {
            value: source,
            span,
        }) = &tunnel.psk
        else {
            continue;
        };
        if let Some((other, earlier)) = first.get(source) {
            let message = format!(
                "the tunnels {other} and {} have the same {source} as their key",
                tunnel.name
            );
            drop(
                report
                    .warning(Code::SecretShared, span.clone(), message)
                    .also(earlier.clone(), "also here"),
            );
        } else {
            first.insert(source, (&tunnel.name, span.clone()));
        }
        let rule = &tunnel.facts().psk;
        let mut seen = None;
        let look = &mut |secret: &[u8]| {
            let wrong = secret
                .iter()
                .position(|octet| !(rule.allows)(*octet))
                .map(|at| at + 1);
            seen = Some(Seen {
                octets: secret.len(),
                wrong,
            });
        };
        match secrets.inspect(source, look) {
            Err(error) => unavailable(&format!("tunnel {}", tunnel.name), span, error, report),
            Ok(()) => judge(tunnel, span, seen, report),
        }
    }
    for neighbor in raw.bgp.iter().flat_map(|bgp| &bgp.neighbors) {
        if let Some(At {
            value: source,
            span,
        }) = &neighbor.md5
            && let Err(error) = secrets.inspect(source, &mut |_| {})
        {
            unavailable(&format!("neighbor {}", neighbor.name), span, error, report);
        }
    }
}

/// Fewer octets cannot have the 256 bits of entropy that RFC 8784 section 6 asks for.
const FEWEST_OF_A_PPK: usize = 32;

fn check_ppk(tunnel: &RawTunnel, secrets: &dyn Secrets, report: &mut Report<'_>) {
    let Some(At { value: ppk, span }) = &tunnel.ppk else {
        return;
    };
    let (facts, name) = (tunnel.facts(), &tunnel.name);
    if !facts.ppk {
        let peer = facts.peer;
        let draft = if ppk.required.as_ref().is_none_or(|required| required.value) {
            let message = format!(
                "tunnel {name}: {peer} has no post-quantum keys, so the tunnel would never come up"
            );
            report.error(Code::Ppk, span.clone(), message)
        } else {
            let message =
                format!("tunnel {name}: {peer} has no post-quantum keys, so it is never used");
            report.warning(Code::Ppk, span.clone(), message)
        };
        drop(draft.help("leave ppk out"));
    }
    let mut octets = None;
    let look = &mut |secret: &[u8]| octets = Some(secret.len());
    if let Err(error) = secrets.inspect(&ppk.secret, look) {
        unavailable(&format!("tunnel {name}: ppk"), span, error, report);
    } else if let Some(octets) = octets.filter(|octets| *octets < FEWEST_OF_A_PPK) {
        let message = format!(
            "tunnel {name}: the post-quantum key has {octets} octets, fewer than {FEWEST_OF_A_PPK}"
        );
        drop(
            report
                .warning(Code::SecretWeak, span.clone(), message)
                .help("make one by: openssl rand -hex 32"),
        );
    }
}

fn unavailable(
    whose: &str,
    span: &Range<usize>,
    error: SecretUnavailable,
    report: &mut Report<'_>,
) {
    let SecretUnavailable { reason, help } = error;
    let draft = report.error(
        Code::SecretUnavailable,
        span.clone(),
        format!("{whose}: {reason}"),
    );
    if let Some(help) = help {
        drop(draft.help(help));
    }
}

fn judge(tunnel: &RawTunnel, span: &Range<usize>, seen: Option<Seen>, report: &mut Report<'_>) {
    let Some(Seen { octets, wrong }) = seen else {
        return;
    };
    let (facts, name) = (tunnel.facts(), &tunnel.name);
    if let Some(place) = wrong {
        let message = format!(
            "tunnel {name}: character {place} of the key is not among {}, which is all that {} takes",
            facts.psk.allowed, facts.peer
        );
        drop(
            report
                .error(Code::SecretCharacters, span.clone(), message)
                .help("compare it with the cloud's console: quotation marks and blanks are not part of a key"),
        );
    }
    if octets < facts.psk.fewest {
        let message = format!(
            "tunnel {name}: the key has {octets} characters, and {} is short",
            facts.psk.fewest
        );
        drop(
            report
                .warning(Code::SecretWeak, span.clone(), message)
                .help("take 32 random characters or more"),
        );
    }
}
