//! `[[route]]` as it was written.

use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use super::section::{At, Section, elements};
use crate::diagnostic::Report;
use crate::schema;

/// `[[route]]`
#[derive(Debug)]
pub(crate) struct RawRoute {
    pub(crate) at: Range<usize>,
    pub(crate) prefix: Option<At<IpNet>>,
    pub(crate) via: Option<At<IpAddr>>,
    pub(crate) interface: Option<At<String>>,
    pub(crate) blackhole: Option<At<bool>>,
}

/// All of them.
pub(super) fn routes(root: &Section<'_>, report: &mut Report<'_>) -> Vec<RawRoute> {
    let Some(value) = root.value("route") else {
        return Vec::new();
    };
    elements(value, "routes: [[route]]", report, RawRoute::read).unwrap_or_default()
}

impl RawRoute {
    fn read<'v>(value: &'v Spanned<DeValue<'v>>, report: &mut Report<'_>) -> Option<Self> {
        let at = value.span();
        let section = Section::open(value, at.clone(), "a route".into(), &schema::ROUTE, report)?;
        Some(Self {
            at,
            prefix: section.require("prefix", report),
            via: section.get("via", report),
            interface: section.get("interface", report),
            blackhole: section.get("blackhole", report),
        })
    }

    /// Whether it drops packets.
    pub(crate) fn drops(&self) -> bool {
        self.blackhole.as_ref().is_some_and(|it| it.value)
    }
}
