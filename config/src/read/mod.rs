//! From TOML to typed values with spans.
//!
//! This stage knows what each key's value looks like and nothing of how values fit together. What is missing or wrong
//! is reported and absent, so that the checks can go on with the rest.

mod bfd;
mod bgp;
mod certificate;
mod firewall;
mod metrics;
mod ppk;
mod route;
mod route_map;
mod section;
mod tunnel;
mod value;

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::PathBuf;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(crate) use bfd::RawBfd;
pub(crate) use bgp::{RawBgp, RawList, RawNeighbor, RawPrefixRule};
pub(crate) use certificate::RawCertificate;
pub(crate) use firewall::{RawAlias, RawFirewall, RawNetworks, RawPorts, RawRule};
pub(crate) use metrics::RawMetrics;
pub(crate) use ppk::RawPpk;
pub(crate) use route::RawRoute;
pub(crate) use route_map::{
    RawChanges, RawConditions, RawEdit, RawRouteMap, RawRouteRule, Several,
};
pub(crate) use section::At;
use section::{Read, Section, entries, wrong_type};
pub(crate) use tunnel::RawTunnel;
pub(crate) use value::network;

use crate::code::Code;
use crate::diagnostic::Report;
use crate::model::{DataPlane, InterfaceKind, LogLevel, Offload};
use crate::schema;
use crate::source::Source;

/// A site file as it was written.
#[derive(Debug)]
pub(crate) struct RawSite {
    pub(crate) gateway: RawGateway,
    pub(crate) tunnels: Vec<RawTunnel>,
    pub(crate) bgp: Option<RawBgp>,
    pub(crate) lists: Vec<RawList>,
    pub(crate) maps: Vec<RawRouteMap>,
    pub(crate) routes: Vec<RawRoute>,
    pub(crate) aliases: Vec<RawAlias>,
    pub(crate) firewall: RawFirewall,
    pub(crate) metrics: RawMetrics,
    pub(crate) daemon: RawDaemon,
}

/// `[gateway]`
#[derive(Debug, Default)]
pub(crate) struct RawGateway {
    pub(crate) name: Option<At<String>>,
    pub(crate) wan: Option<At<String>>,
    pub(crate) address: Option<At<RawAddress>>,
    pub(crate) networks: Vec<At<IpNet>>,
}

/// `gateway.address`
#[derive(Clone, Copy, Debug)]
pub(crate) enum RawAddress {
    /// "auto"
    Auto,
    Fixed(Ipv4Addr),
}

/// `[daemon]`
#[derive(Debug, Default)]
pub(crate) struct RawDaemon {
    pub(crate) data_plane: Option<At<DataPlane>>,
    pub(crate) interface_kind: Option<At<InterfaceKind>>,
    pub(crate) offload: Option<At<Offload>>,
    pub(crate) socket: Option<At<PathBuf>>,
    pub(crate) log: Option<At<LogLevel>>,
    pub(crate) cleanup: Option<At<bool>>,
    pub(crate) ike_port: Option<At<u16>>,
    pub(crate) nat_port: Option<At<u16>>,
}

/// Reads a whole file; `None` where it is no TOML, which is then the only thing reported.
pub(crate) fn read(source: &Source<'_>, report: &mut Report<'_>) -> Option<RawSite> {
    let (document, problems) = DeTable::parse_recoverable(source.text());
    if !problems.is_empty() {
        for problem in &problems {
            syntax(problem, source, report);
        }
        return None;
    }
    let root = Section::of(
        document.get_ref(),
        0..0,
        "the file".to_owned(),
        &schema::ROOT,
        report,
    );
    let gateway = match open(&root, &schema::GATEWAY, report) {
        Some(section) => RawGateway::read(&section, report),
        None => {
            if root.value("gateway").is_none() {
                root.missing("gateway", report);
            }
            RawGateway::default()
        }
    };
    Some(RawSite {
        gateway,
        tunnels: named(&root, "tunnel", report, |name, at, value, report| {
            RawTunnel::read(name, at, value, report)
        }),
        bgp: open(&root, &schema::BGP, report).map(|section| RawBgp::read(&section, report)),
        lists: named(&root, "prefix-list", report, RawList::read),
        maps: named(&root, "route-map", report, RawRouteMap::read),
        routes: route::routes(&root, report),
        aliases: named(&root, "alias", report, RawAlias::read),
        firewall: open(&root, &schema::FIREWALL, report)
            .map(|section| RawFirewall::read(&section, report))
            .unwrap_or_default(),
        metrics: open(&root, &schema::METRICS, report)
            .map(|section| RawMetrics::read(&section, report))
            .unwrap_or_default(),
        daemon: open(&root, &schema::DAEMON, report)
            .map(|section| RawDaemon::read(&section, report))
            .unwrap_or_default(),
    })
}

fn syntax(problem: &toml::de::Error, source: &Source<'_>, report: &mut Report<'_>) {
    let end = source.text().len();
    let at = problem.span().unwrap_or(end..end);
    let message = problem
        .message()
        .lines()
        .next()
        .unwrap_or("not TOML")
        .to_owned();
    let (start, line) = source.line(source.line_of(at.start)).unwrap_or((end, ""));
    let mut draft = report.error(Code::Syntax, at, message);
    if let Some((key, value)) = line.split_once('=') {
        if ["psk", "md5", "secret", "passw"]
            .iter()
            .any(|word| key.to_lowercase().contains(word))
        {
            draft = draft.conceal(start + key.len() + 1..start + line.len());
        }
        if value
            .trim_start()
            .starts_with(|letter: char| letter.is_ascii_alphanumeric())
        {
            draft =
                draft.help("text belongs in quotes, addresses and durations too: key = \"value\"");
        }
    }
    drop(draft);
}

/// A section of the root, under its schema's path.
fn open<'v>(
    root: &Section<'v>,
    schema: &schema::Section,
    report: &mut Report<'_>,
) -> Option<Section<'v>> {
    let (key, value) = root.entry(schema.path)?;
    Section::open(
        value,
        key.span(),
        format!("[{}]", schema.path),
        schema,
        report,
    )
}

/// The sections below `key` whose names the file chooses, in its order.
fn named<'v, T>(
    parent: &Section<'v>,
    key: &str,
    report: &mut Report<'_>,
    read: impl Fn(&str, Range<usize>, &'v Spanned<DeValue<'v>>, &mut Report<'_>) -> Option<T>,
) -> Vec<T> {
    let Some(value) = parent.value(key) else {
        return Vec::new();
    };
    let Some(table) = value.get_ref().as_table() else {
        wrong_type(value, &format!("sections [{key}.NAME]"), report);
        return Vec::new();
    };
    entries(table)
        .into_iter()
        .filter_map(|(name, value)| {
            value::check_name(key, name.get_ref(), name.span(), report);
            read(name.get_ref(), name.span(), value, report)
        })
        .collect()
}

impl RawGateway {
    fn read(section: &Section<'_>, report: &mut Report<'_>) -> Self {
        Self {
            name: section.get("name", report),
            wan: section.get("wan", report),
            address: section.require("address", report),
            networks: section
                .list("networks", report)
                .map(|list| list.value)
                .unwrap_or_default(),
        }
    }

    /// Our address, where the file says it.
    pub(crate) fn fixed(&self) -> Option<At<Ipv4Addr>> {
        match self.address.as_ref()? {
            At {
                value: RawAddress::Fixed(address),
                span,
            } => Some(At {
                value: *address,
                span: span.clone(),
            }),
            At {
                value: RawAddress::Auto,
                ..
            } => None,
        }
    }
}

impl Read for RawAddress {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        if value.get_ref().as_str() == Some("auto") {
            return Some(Self::Auto);
        }
        Ipv4Addr::read(value, report).map(Self::Fixed)
    }
}

impl RawDaemon {
    fn read(section: &Section<'_>, report: &mut Report<'_>) -> Self {
        Self {
            data_plane: section.get("data-plane", report),
            interface_kind: section.get("interface-kind", report),
            offload: section.get("offload", report),
            socket: section.get("socket", report),
            log: section.get("log", report),
            cleanup: section.get("cleanup", report),
            ike_port: section.number("ike-port", 1..=65_535, report),
            nat_port: section.number("nat-port", 1..=65_535, report),
        }
    }
}

/// Whether an address can be a host's.
pub(crate) fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !(address.is_unspecified()
                || address.is_loopback()
                || address.is_multicast()
                || address.octets()[0] >= 240
                || address.octets()[0] == 0)
        }
        IpAddr::V6(address) => {
            !(address.is_unspecified() || address.is_loopback() || address.is_multicast())
        }
    }
}
