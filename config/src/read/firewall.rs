//! `[alias]` and `[firewall]` as they were written.

use std::ops::Range;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use super::section::{At, Read, Section, elements, number};
use super::value;
use crate::code::Code;
use crate::diagnostic::Report;
use crate::model::{Action, PortRange, Protocol};
use crate::schema;

/// One alias.
#[derive(Debug)]
pub(crate) struct RawAlias {
    pub(crate) name: String,
    /// Where the name is.
    pub(crate) at: Range<usize>,
    pub(crate) networks: Option<At<Vec<At<IpNet>>>>,
    pub(crate) ports: Option<At<Vec<At<PortRange>>>>,
    pub(crate) include: Vec<At<String>>,
}

/// `[firewall]`
#[derive(Debug, Default)]
pub(crate) struct RawFirewall {
    pub(crate) enabled: Option<At<bool>>,
    pub(crate) from_cloud: Option<At<Action>>,
    pub(crate) rules: Vec<RawRule>,
}

/// `[[firewall.rule]]`
#[derive(Debug)]
pub(crate) struct RawRule {
    pub(crate) at: Range<usize>,
    pub(crate) action: Option<At<Action>>,
    pub(crate) source: Option<At<RawNetworks>>,
    pub(crate) destination: Option<At<RawNetworks>>,
    pub(crate) protocol: Option<At<Protocol>>,
    pub(crate) ports: Option<At<RawPorts>>,
    pub(crate) log: Option<At<bool>>,
}

/// A rule's source or destination.
#[derive(Clone, Debug)]
pub(crate) enum RawNetworks {
    Any,
    Alias(String),
    These(Vec<IpNet>),
}

/// A rule's ports.
#[derive(Clone, Debug)]
pub(crate) enum RawPorts {
    Alias(String),
    These(Vec<PortRange>),
}

impl RawAlias {
    pub(super) fn read<'v>(
        name: &str,
        at: Range<usize>,
        value: &'v Spanned<DeValue<'v>>,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let section = Section::open(
            value,
            at.clone(),
            format!("alias {name}"),
            &schema::ALIAS,
            report,
        )?;
        let include = section
            .list("include", report)
            .map(|list| list.value)
            .unwrap_or_default();
        Some(Self {
            name: name.to_owned(),
            at,
            networks: section.list("networks", report),
            ports: section.list("ports", report),
            include,
        })
    }
}

impl RawFirewall {
    pub(super) fn read(section: &Section<'_>, report: &mut Report<'_>) -> Self {
        let rules = section
            .value("rule")
            .and_then(|value| elements(value, "sections [[firewall.rule]]", report, RawRule::read))
            .unwrap_or_default();
        Self {
            enabled: section.get("enabled", report),
            from_cloud: section.get("from-cloud", report),
            rules,
        }
    }
}

impl RawRule {
    fn read<'v>(value: &'v Spanned<DeValue<'v>>, report: &mut Report<'_>) -> Option<Self> {
        let at = value.span();
        let section = Section::open(
            value,
            at.clone(),
            "a firewall rule".to_owned(),
            &schema::RULE,
            report,
        )?;
        Some(Self {
            at,
            action: section.require("action", report),
            source: section.get("source", report),
            destination: section.get("destination", report),
            protocol: section.get("protocol", report),
            ports: section.get("ports", report),
            log: section.get("log", report),
        })
    }
}

impl Read for RawNetworks {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        if let Some(elements) = value.get_ref().as_array() {
            let networks: Vec<IpNet> = elements
                .iter()
                .filter_map(|element| IpNet::read(element, report))
                .collect();
            if elements.is_empty() {
                let message = "an empty list matches nothing";
                drop(
                    report
                        .error(Code::BadValue, value.span(), message)
                        .help("write \"any\" for everything"),
                );
            }
            return Some(Self::These(networks));
        }
        match value::text(
            value,
            "\"any\", an alias, a network, or a list of networks",
            report,
        )? {
            "any" => Some(Self::Any),
            text if super::network(text).is_some() || text.contains('/') => {
                Some(Self::These(vec![IpNet::read(value, report)?]))
            }
            name => Some(Self::Alias(name.to_owned())),
        }
    }
}

impl Read for RawPorts {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        if let Some(elements) = value.get_ref().as_array() {
            if elements.is_empty() {
                let message = "an empty list matches nothing";
                drop(
                    report
                        .error(Code::BadValue, value.span(), message)
                        .help("leave the key out for all ports"),
                );
            }
            return Some(Self::These(
                elements
                    .iter()
                    .filter_map(|element| PortRange::read(element, report))
                    .collect(),
            ));
        }
        match value.get_ref().as_str() {
            Some(text) if !text.starts_with(|letter: char| letter.is_ascii_digit()) => {
                Some(Self::Alias(text.to_owned()))
            }
            _ => PortRange::read(value, report).map(|range| Self::These(vec![range])),
        }
    }
}

impl Read for Protocol {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        if value.get_ref().is_integer() {
            return match number(value, 0..=255, report)? {
                1 => Some(Self::Icmp),
                6 => Some(Self::Tcp),
                17 => Some(Self::Udp),
                other => Some(Self::Number(other)),
            };
        }
        let text = value::text(
            value,
            "\"any\", \"tcp\", \"udp\", \"icmp\" or a number",
            report,
        )?;
        match text {
            "any" => Some(Self::Any),
            "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            "icmp" => Some(Self::Icmp),
            _ => {
                let message = format!("\"{text}\" is no protocol");
                let help = "write any, tcp, udp, icmp, or the protocol's number without quotes";
                drop(
                    report
                        .error(Code::BadValue, value.span(), message)
                        .help(help),
                );
                None
            }
        }
    }
}
