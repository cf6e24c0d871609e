//! Single values: addresses, networks, durations, words, secrets.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use toml::Spanned;
use toml::de::DeValue;

use super::section::{At, Read, Section, wrong_type};
use crate::code::Code;
use crate::diagnostic::Report;
use crate::model::{
    Action, AddressFamily, DataPlane, Encapsulation, Identity, InterfaceKind, LogLevel, Offload,
    OverLimit, Pfs, PortRange, Redistribute, Remote, Role, SecretSource, TunnelRole,
};
use crate::profile::{NeighborKind, Profile};
use crate::{schema, suggest};

/// The text of a value.
pub(crate) fn text<'v>(
    value: &'v Spanned<DeValue<'_>>,
    wanted: &str,
    report: &mut Report<'_>,
) -> Option<&'v str> {
    let text = value.get_ref().as_str();
    if text.is_none() {
        wrong_type(value, wanted, report);
    }
    text
}

/// Reads a text by `parse`, or reports that it is not what was wanted.
pub(super) fn parsed<T>(
    value: &Spanned<DeValue<'_>>,
    wanted: &str,
    report: &mut Report<'_>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let text = text(value, wanted, report)?;
    let read = parse(text);
    if read.is_none() {
        let wanted = wanted.trim_end_matches(" in quotes");
        let message = format!("\"{text}\" is not {wanted}");
        drop(report.error(Code::BadValue, value.span(), message));
    }
    read
}

impl Read for bool {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        let read = value.get_ref().as_bool();
        if read.is_none() {
            wrong_type(value, "true or false", report);
        }
        read
    }
}

impl Read for String {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        text(value, "text in quotes", report).map(str::to_owned)
    }
}

impl Read for PathBuf {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        let wanted = "an absolute path in quotes";
        parsed(value, wanted, report, |text| {
            text.starts_with('/').then(|| Self::from(text))
        })
    }
}

impl Read for IpAddr {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        let wanted = "an IP address in quotes";
        let text = text(value, wanted, report)?;
        let read = text.parse().ok();
        if read.is_none() && looks_like_host(text) {
            let message = format!("\"{text}\" is a host name; a literal address is needed");
            drop(report.error(Code::NotLiteral, value.span(), message).help(format!(
                "look it up once (for example with: getent ahostsv4 {text}) and write the address"
            )));
        } else if read.is_none() {
            let wanted = wanted.trim_end_matches(" in quotes");
            let message = format!("\"{text}\" is not {wanted}");
            drop(report.error(Code::BadValue, value.span(), message));
        }
        read
    }
}

fn looks_like_host(text: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'.' || octet == b'-';
    text.bytes().all(plain) && text.bytes().any(|octet| octet.is_ascii_alphabetic())
}

impl Read for Ipv4Addr {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        match IpAddr::read(value, report)? {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(address) => {
                ipv6(value, &address.to_string(), report);
                None
            }
        }
    }
}

impl Read for Remote {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        let text = text(value, "an IP address or a DNS name in quotes", report)?;
        match text.parse() {
            Ok(address) => return Some(Self::Address(address)),
            Err(_) if is_host_name(text) => {
                return Some(Self::Name(text.trim_end_matches('.').to_owned()));
            }
            Err(_) => {}
        }
        let message = format!("\"{text}\" is neither an IP address nor a DNS name");
        drop(report.error(Code::BadValue, value.span(), message));
        None
    }
}

/// Whether a text is a host's name (RFC 1123 section 2.1): its last label begins with a letter, and what begins with three numbers is
/// a mistyped address.
fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = |label: &&str| label.bytes().all(|octet| octet.is_ascii_digit());
    name.len() <= 253
        && name.split('.').take_while(is_number).count() < 3
        && name.split('.').all(is_label)
        && last.starts_with(|first: char| first.is_ascii_alphabetic())
}

fn ipv6(value: &Spanned<DeValue<'_>>, text: &str, report: &mut Report<'_>) {
    let message = format!("{text} is IPv6, which is not supported here yet");
    drop(
        report
            .error(Code::Ipv6Unsupported, value.span(), message)
            .help("write an IPv4 address"),
    );
}

/// A network or a single address.
impl Read for IpNet {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        let wanted = "a network such as \"192.168.2.0/24\"";
        let net: Self = parsed(value, wanted, report, network)?;
        let cleared = net.trunc();
        if cleared != net {
            let message = format!("{net} has host bits set");
            let help = format!(
                "the network is {cleared}; the single address is {}",
                net.addr()
            );
            drop(
                report
                    .error(Code::HostBits, value.span(), message)
                    .help(help),
            );
        }
        // What follows goes on with the network, so that the other checks have their say.
        Some(cleared)
    }
}

/// A network in CIDR notation, or an address as a network of one.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl Read for Ipv4Net {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        match IpNet::read(value, report)? {
            IpNet::V4(net) => Some(net),
            IpNet::V6(net) => {
                ipv6(value, &net.to_string(), report);
                None
            }
        }
    }
}

/// An interface's address: host bits are its point.
pub(crate) struct InterfaceAddress(pub(crate) Ipv4Net);

impl Read for InterfaceAddress {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        let wanted = "our inside address with its length, such as \"10.1.0.0/31\"";
        match parsed(value, wanted, report, |text| text.parse().ok())? {
            IpNet::V4(net) => Some(Self(net)),
            IpNet::V6(net) => {
                ipv6(value, &net.to_string(), report);
                None
            }
        }
    }
}

impl Read for Duration {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        if let Some(number) = value.get_ref().as_integer() {
            let message = "expected a duration in quotes, found a number";
            let help = format!("write the unit: \"{}s\"", number.as_str());
            drop(
                report
                    .error(Code::WrongType, value.span(), message)
                    .help(help),
            );
            return None;
        }
        parsed(
            value,
            "a duration such as \"10s\", \"5m\" or \"1h30m\"",
            report,
            duration,
        )
    }
}

/// Reads `1h30m`: numbers with units d, h, m, s, ms, each unit at most once and in this order.
fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let mut rest = text.trim();
    let (mut millis, mut next) = (0_u64, 0);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let place = UNITS
            .iter()
            .position(|(name, _)| *name == unit)
            .filter(|place| *place >= next)?;
        let (_, scale) = UNITS.get(place)?;
        millis = number
            .parse::<u64>()
            .ok()?
            .checked_mul(*scale)?
            .checked_add(millis)?;
        (next, rest) = (place + 1, after);
    }
    // A century is longer than any machine's clock arithmetic has to bear.
    (millis <= 100 * 365 * 86_400_000).then_some(Duration::from_millis(millis))
}

/// A name of the file's own: of a tunnel, neighbor, list, map or alias.
pub(crate) fn check_name(what: &str, name: &str, at: Range<usize>, report: &mut Report<'_>) {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    let begins = name
        .bytes()
        .next()
        .is_some_and(|octet| octet.is_ascii_alphanumeric());
    let problem = if ["all", "none", "any"].contains(&name) {
        "has a meaning of its own"
    } else if !begins || !name.bytes().all(plain) {
        "has other characters than letters, digits, '-', '_' and '.', or does not begin with a letter or digit"
    } else if name.len() > 32 {
        "is longer than 32 characters"
    } else {
        return;
    };
    drop(report.error(
        Code::BadName,
        at,
        format!("the name \"{name}\" of the {what} {problem}"),
    ));
}

/// Values that are one of some words.
macro_rules! words {
    ($($type:ty: $($word:literal => $value:expr),+;)+) => {$(
        impl Read for $type {
            fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
                word(value, &[$(($word, $value)),+], report)
            }
        }
    )+};
}

words! {
    Profile: "oci" => Self::Oci, "generic" => Self::Generic;
    NeighborKind: "cilium" => Self::Cilium, "metallb" => Self::Metallb, "generic" => Self::Generic;
    Encapsulation: "auto" => Self::Auto, "force" => Self::Force, "never" => Self::Never;
    OverLimit: "restart" => Self::Restart, "shutdown" => Self::Shutdown, "warn" => Self::Warn;
    Role: "cloud" => Self::Cloud, "lan" => Self::Lan;
    AddressFamily: "ipv4" => Self::Ipv4, "ipv6" => Self::Ipv6;
    Redistribute: "connected" => Self::Connected, "static" => Self::Static, "kernel" => Self::Kernel;
    Action: "accept" => Self::Accept, "drop" => Self::Drop;
    DataPlane: "auto" => Self::Auto, "kernel" => Self::Kernel, "userspace" => Self::Userspace;
    InterfaceKind: "auto" => Self::Auto, "xfrm" => Self::Xfrm, "vti" => Self::Vti;
    TunnelRole: "primary" => Self::Primary, "backup" => Self::Backup;
    Offload: "none" => Self::None, "crypto" => Self::Crypto, "packet" => Self::Packet;
    LogLevel: "error" => Self::Error, "warn" => Self::Warn, "info" => Self::Info, "debug" => Self::Debug, "trace" => Self::Trace;
    Pfs: "strict" => Self { ike_group: false, none: false }, "ike-group" => Self { ike_group: true, none: false },
        "any" => Self { ike_group: true, none: true };
}

/// One of some words.
pub(super) fn word<T: Copy>(
    value: &Spanned<DeValue<'_>>,
    words: &[(&'static str, T)],
    report: &mut Report<'_>,
) -> Option<T> {
    let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let wanted = format!("one of {}", all.join(", "));
    let text = text(value, &wanted, report)?;
    let found = words
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value);
    if found.is_none() {
        let draft = report.error(
            Code::BadValue,
            value.span(),
            format!("\"{text}\" is not {wanted}"),
        );
        if let Some(near) = suggest::nearest(text, all) {
            drop(draft.help(format!("did you mean \"{near}\"?")));
        }
    }
    found
}

impl Read for Identity {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        parsed(
            value,
            "an address, a name or a mail address",
            report,
            Self::parse,
        )
    }
}

impl Read for PortRange {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        if value.get_ref().is_integer() {
            return super::section::number(value, 1..=65_535, report).map(Self::one);
        }
        parsed(
            value,
            "a port or a range such as \"8000-8100\"",
            report,
            Self::parse,
        )
    }
}

impl Read for SecretSource {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        let form = "{ file = \"/etc/causeway/…\" }, { credential = \"…\" } or { env = \"…\" }";
        if refuses_secret(value, form, report) {
            return None;
        }
        let section = Section::open(
            value,
            value.span(),
            "the secret".to_owned(),
            &schema::SECRET,
            report,
        )?;
        secret_source(&section, value.span(), report)
    }
}

/// Refuses text where a table that says where a secret is has to be: it may be the secret itself, which must not be repeated where others
/// may read it. `form` is what to write instead. Returns whether it did.
pub(super) fn refuses_secret(
    value: &Spanned<DeValue<'_>>,
    form: &str,
    report: &mut Report<'_>,
) -> bool {
    let is_text = value.get_ref().is_str();
    if is_text {
        let message = "a secret does not stand in the site file";
        drop(
            report
                .error(Code::WrongType, value.span(), message)
                .conceal(value.span())
                .help(format!("write {form}")),
        );
    }
    is_text
}

/// The source of a secret by the keys of a table, which may have others too.
pub(super) fn secret_source(
    section: &Section<'_>,
    span: Range<usize>,
    report: &mut Report<'_>,
) -> Option<SecretSource> {
    let file = section.get::<PathBuf>("file", report);
    let credential = section.get::<String>("credential", report);
    let env = section.get::<String>("env", report);
    let given = ["file", "credential", "env"]
        .into_iter()
        .filter(|key| section.value(key).is_some());
    match given.count() {
        0 => section.missing("file", report),
        1 => {}
        _ => drop(
            report
                .error(
                    Code::ConflictingKeys,
                    span,
                    "a secret has one source, and here are several",
                )
                .help("keep one of file, credential and env"),
        ),
    }
    let named = |At { value, span }: At<String>, report: &mut Report<'_>| {
        let plain =
            |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        if value.is_empty() || value.starts_with('.') || !value.chars().all(plain) {
            let message = format!("\"{value}\" is no plain name");
            drop(report.error(Code::BadValue, span, message));
            return None;
        }
        Some(value)
    };
    match (file, credential, env) {
        (Some(path), ..) => Some(SecretSource::File(path.value)),
        (_, Some(name), _) => named(name, report).map(SecretSource::Credential),
        (_, _, Some(name)) => named(name, report).map(SecretSource::Env),
        _ => None,
    }
}
