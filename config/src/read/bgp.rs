//! `[bgp]`, its neighbors, and `[prefix-list]` as they were written.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use toml::Spanned;
use toml::de::DeValue;

use super::section::{At, Read, Section, elements, wrong_type};
use super::{RawBfd, named, value};
use crate::code::Code;
use crate::diagnostic::Report;
use crate::model::{
    AddressFamily, Asn, DefaultOriginate, OverLimit, Policy, PrefixAction, Redistribute, Role,
    SecretSource, Shutdown, UpdateSource,
};
use crate::profile::NeighborKind;
use crate::schema;

/// `[bgp]`
#[derive(Debug)]
pub(crate) struct RawBgp {
    pub(crate) asn: Option<At<Asn>>,
    pub(crate) router_id: Option<At<Ipv4Addr>>,
    pub(crate) maximum_paths: Option<At<i64>>,
    pub(crate) multipath_relax: Option<At<bool>>,
    pub(crate) redistribute: Option<At<Vec<At<Redistribute>>>>,
    pub(crate) neighbors: Vec<RawNeighbor>,
}

/// `[bgp.neighbor.NAME]`
#[derive(Debug)]
pub(crate) struct RawNeighbor {
    pub(crate) name: String,
    /// Where the name is.
    pub(crate) at: Range<usize>,
    pub(crate) tunnel: Option<At<String>>,
    pub(crate) profile: Option<At<NeighborKind>>,
    /// From `address` or `addresses`.
    pub(crate) addresses: Vec<At<IpAddr>>,
    /// Whether it was `addresses`, so that names carry the address.
    pub(crate) several: bool,
    /// Whoever connects from there is a neighbor.
    pub(crate) range: Option<At<Ipv4Net>>,
    pub(crate) range_limit: Option<At<u16>>,
    pub(crate) remote_asn: Option<At<Asn>>,
    pub(crate) remote_asns: Option<At<Vec<At<Asn>>>>,
    pub(crate) local_asn: Option<At<Asn>>,
    pub(crate) families: Option<At<Vec<At<AddressFamily>>>>,
    pub(crate) next_hop_address: Option<At<IpAddr>>,
    pub(crate) source: Option<At<UpdateSource>>,
    pub(crate) import: Option<At<Policy>>,
    pub(crate) export: Option<At<Policy>>,
    pub(crate) role: Option<At<Role>>,
    pub(crate) passive: Option<At<bool>>,
    pub(crate) shutdown: Option<At<Shutdown>>,
    pub(crate) hold_time: Option<At<Duration>>,
    pub(crate) keepalive: Option<At<Duration>>,
    pub(crate) connect_retry: Option<At<Duration>>,
    pub(crate) graceful_restart: Option<At<bool>>,
    pub(crate) restart_time: Option<At<Duration>>,
    pub(crate) max_prefixes: Option<At<u32>>,
    pub(crate) max_prefixes_action: Option<At<OverLimit>>,
    pub(crate) max_prefixes_pause: Option<At<Duration>>,
    pub(crate) max_prefixes_out: Option<At<u32>>,
    pub(crate) allow_own_as: Option<At<u8>>,
    pub(crate) as_override: Option<At<bool>>,
    pub(crate) remove_private_as: Option<At<bool>>,
    pub(crate) next_hop_self: Option<At<bool>>,
    pub(crate) route_reflector_client: Option<At<bool>>,
    pub(crate) default_originate: Option<At<DefaultOriginate>>,
    pub(crate) allow_default: Option<At<bool>>,
    pub(crate) allow_overlap: Option<At<bool>>,
    pub(crate) local_pref: Option<At<u32>>,
    pub(crate) prepend: Option<At<u8>>,
    pub(crate) med: Option<At<u32>>,
    pub(crate) ttl_security: Option<At<bool>>,
    pub(crate) bfd: Option<At<RawBfd>>,
    pub(crate) md5: Option<At<SecretSource>>,
    pub(crate) port: Option<At<u16>>,
}

/// One list under `[prefix-list]`
#[derive(Debug)]
pub(crate) struct RawList {
    pub(crate) name: String,
    /// Where the name is.
    pub(crate) at: Range<usize>,
    pub(crate) rules: Vec<RawPrefixRule>,
}

/// One rule of a list.
#[derive(Debug)]
pub(crate) struct RawPrefixRule {
    pub(crate) at: Range<usize>,
    pub(crate) seq: Option<At<u32>>,
    pub(crate) action: PrefixAction,
    pub(crate) prefix: At<IpNet>,
    pub(crate) ge: Option<At<u8>>,
    pub(crate) le: Option<At<u8>>,
}

/// RFC 9003, section 2.
const LONGEST_SHUTDOWN: usize = 255;

const ANY_U32: std::ops::RangeInclusive<i64> = 0..=u32::MAX as i64;

impl RawBgp {
    pub(super) fn read(section: &Section<'_>, report: &mut Report<'_>) -> Self {
        if section.value("asn").is_none() {
            section.missing("asn", report);
        }
        Self {
            asn: asn(section, "asn", report),
            router_id: section.get("router-id", report),
            maximum_paths: section.number("maximum-paths", i64::MIN..=i64::MAX, report),
            multipath_relax: section.get("multipath-relax", report),
            redistribute: section.list("redistribute", report),
            neighbors: named(section, "neighbor", report, RawNeighbor::read),
        }
    }
}

fn asn(section: &Section<'_>, key: &str, report: &mut Report<'_>) -> Option<At<Asn>> {
    section
        .number(key, ANY_U32, report)
        .map(|number| number.map(Asn))
}

impl Read for Asn {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        super::section::number(value, ANY_U32, report).map(Self)
    }
}

impl RawNeighbor {
    fn read<'v>(
        name: &str,
        at: Range<usize>,
        value: &'v Spanned<DeValue<'v>>,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let section = Section::open(
            value,
            at.clone(),
            format!("neighbor {name}"),
            &schema::NEIGHBOR,
            report,
        )?;
        let address = section.get("address", report);
        let addresses = section.list("addresses", report);
        exclusive(&section, report);
        without_policy(&section, name, report);
        let several = addresses.is_some();
        Some(Self {
            name: name.to_owned(),
            at,
            tunnel: section.get("tunnel", report),
            profile: section.get("profile", report),
            addresses: address
                .into_iter()
                .chain(addresses.into_iter().flat_map(|list| list.value))
                .collect(),
            several,
            range: section.get("range", report),
            range_limit: section.number("range-limit", 1..=1000, report),
            remote_asn: asn(&section, "remote-asn", report),
            remote_asns: section.list("remote-asns", report),
            local_asn: asn(&section, "local-asn", report),
            families: section.list("families", report),
            next_hop_address: section.get("next-hop-address", report),
            source: section.get("source", report),
            import: section.get("import", report),
            export: section.get("export", report),
            role: section.get("role", report),
            passive: section.get("passive", report),
            shutdown: section.get("shutdown", report),
            hold_time: section.get("hold-time", report),
            keepalive: section.get("keepalive", report),
            connect_retry: section.get("connect-retry", report),
            graceful_restart: section.get("graceful-restart", report),
            restart_time: section.get("restart-time", report),
            max_prefixes: section.number("max-prefixes", 1..=10_000_000, report),
            max_prefixes_action: section.get("max-prefixes-action", report),
            max_prefixes_pause: section.get("max-prefixes-pause", report),
            max_prefixes_out: section.number("max-prefixes-out", 1..=10_000_000, report),
            allow_own_as: section.number("allow-own-as", 0..=10, report),
            as_override: section.get("as-override", report),
            remove_private_as: section.get("remove-private-as", report),
            next_hop_self: section.get("next-hop-self", report),
            route_reflector_client: section.get("route-reflector-client", report),
            default_originate: section.get("default-originate", report),
            allow_default: section.get("allow-default", report),
            allow_overlap: section.get("allow-overlap", report),
            local_pref: section.number("local-pref", ANY_U32, report),
            prepend: section.number("prepend", 0..=10, report),
            med: section.number("med", ANY_U32, report),
            ttl_security: section.get("ttl-security", report),
            bfd: RawBfd::read(&section, name, report),
            md5: section.get("md5", report),
            port: section.number("port", 1..=65_535, report),
        })
    }

    /// What it stands for, written or not.
    pub(crate) fn role(&self) -> Role {
        match (&self.role, &self.tunnel) {
            (Some(role), _) => role.value,
            (None, Some(_)) => Role::Cloud,
            (None, None) => Role::Lan,
        }
    }
}

/// Keys of which at most one has a meaning, and of which one has to be there.
fn exclusive(section: &Section<'_>, report: &mut Report<'_>) {
    let given = |key| section.entry(key).map(|(name, _)| name.span());
    let conflict = |(key, at), (other, other_at): (&str, Range<usize>), report: &mut Report<'_>| {
        let message = format!("\"{key}\" and \"{other}\" exclude each other");
        drop(
            report
                .error(Code::ConflictingKeys, at, message)
                .also(other_at, "the other one"),
        );
    };
    if let Some(range) = given("range") {
        let others = ["address", "addresses", "tunnel"].into_iter();
        if let Some((key, at)) = others.filter_map(|key| Some((key, given(key)?))).next() {
            conflict(("range", range), (key, at), report);
        }
        if let (Some(one), Some(several)) = (given("remote-asn"), given("remote-asns")) {
            conflict(("remote-asns", several), ("remote-asn", one), report);
        }
        return;
    }
    for key in ["range-limit", "remote-asns"] {
        if let Some(at) = given(key) {
            let message = format!("\"{key}\" has no meaning without \"range\"");
            drop(report.error(Code::ConflictingKeys, at, message));
        }
    }
    match (given("address"), given("addresses"), given("tunnel")) {
        (Some(one), Some(many), _) => conflict(("addresses", many), ("address", one), report),
        (None, Some(many), Some(tunnel)) => {
            conflict(("addresses", many), ("tunnel", tunnel), report)
        }
        (None, None, None) => section.missing("address", report),
        _ => {}
    }
    if let (Some(profile), Some(tunnel)) = (given("profile"), given("tunnel")) {
        conflict(("profile", profile), ("tunnel", tunnel), report);
    }
}

/// RFC 8212: neither import nor export has a default.
fn without_policy(section: &Section<'_>, name: &str, report: &mut Report<'_>) {
    for key in ["import", "export"]
        .into_iter()
        .filter(|key| section.value(key).is_none())
    {
        let message = format!("neighbor {name} has no {key} policy");
        let help = format!(
            "add {key} = \"a prefix list\", or \"none\" (RFC 8212: nothing is exchanged by default)"
        );
        drop(
            report
                .error(Code::NeighborWithoutPolicy, section.at.clone(), message)
                .help(help),
        );
    }
}

impl RawList {
    pub(super) fn read<'v>(
        name: &str,
        at: Range<usize>,
        value: &'v Spanned<DeValue<'v>>,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let form = "a list of rules: [{ permit = \"10.0.0.0/16\" }]";
        let rules = elements(value, form, report, |rule, report| {
            RawPrefixRule::read(name, rule, report)
        })?;
        Some(Self {
            name: name.to_owned(),
            at,
            rules,
        })
    }
}

impl RawPrefixRule {
    fn read<'v>(
        list: &str,
        value: &'v Spanned<DeValue<'v>>,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let at = value.span();
        let what = format!("a rule of the prefix list {list}");
        let section = Section::open(value, at.clone(), what, &schema::PREFIX_RULE, report)?;
        let permit = section.get("permit", report);
        let deny = section.get("deny", report);
        let seq = section.number("seq", 1..=i64::from(u32::MAX), report);
        let ge = section.number("ge", 0..=255, report);
        let le = section.number("le", 0..=255, report);
        match (section.entry("permit"), section.entry("deny")) {
            (Some((permit, _)), Some((deny, _))) => {
                let message = "a rule either permits or denies";
                drop(
                    report
                        .error(Code::ConflictingKeys, deny.span(), message)
                        .also(permit.span(), "the other one"),
                );
            }
            (None, None) => section.missing("permit", report),
            _ => {}
        }
        let (action, prefix) = match (permit, deny) {
            (Some(prefix), _) => (PrefixAction::Permit, prefix),
            (None, Some(prefix)) => (PrefixAction::Deny, prefix),
            (None, None) => return None,
        };
        Some(Self {
            at,
            seq,
            action,
            prefix,
            ge,
            le,
        })
    }
}

impl Read for Policy {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        let text = value::text(
            value,
            "the name of a prefix list or route map, \"all\" or \"none\"",
            report,
        )?;
        Some(match text {
            "all" => Self::All,
            "none" => Self::None,
            // Whether it is a list or a map is known when all of them are.
            name => Self::PrefixList(name.to_owned()),
        })
    }
}

impl Read for DefaultOriginate {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        match value.get_ref().as_bool() {
            Some(true) => Some(Self::Always),
            Some(false) => Some(Self::Never),
            None if value.get_ref().is_str() => IpNet::read(value, report).map(Self::While),
            None => {
                wrong_type(
                    value,
                    "true, false, or the network that has to be reachable",
                    report,
                );
                None
            }
        }
    }
}

impl Read for Shutdown {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        if let Some(down) = value.get_ref().as_bool() {
            return Some(if down { Self::Silent } else { Self::No });
        }
        let text = value::text(value, "true, false, or the words for the neighbor", report)?;
        let length = text.len();
        if !(1..=LONGEST_SHUTDOWN).contains(&length) || text.chars().any(char::is_control) {
            let message = format!(
                "the words for the neighbor are 1 to {LONGEST_SHUTDOWN} octets of plain text (RFC 9003), not {length}"
            );
            drop(report.error(Code::BadValue, value.span(), message));
            return None;
        }
        Some(Self::Saying(text.to_owned()))
    }
}

impl Read for UpdateSource {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        let text = value::text(value, "an interface or an address in quotes", report)?;
        Some(match text.parse() {
            Ok(address) => Self::Address(address),
            Err(_) => Self::Interface(text.to_owned()),
        })
    }
}
