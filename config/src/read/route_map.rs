//! `[route-map]` as it was written.

use std::net::Ipv4Addr;
use std::ops::Range;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use super::section::{At, Read, Section, elements, number};
use super::value;
use crate::code::Code;
use crate::diagnostic::Report;
use crate::model::{
    AsPathExpression, Community, CommunityPattern, ExtendedCommunity, ExtendedCommunityPattern,
    LargeCommunity, LargeCommunityPattern, NumberRange, PrefixAction, Redistribute, RouteSource,
};
use crate::{as_path, community, schema};

/// One map under `[route-map]`
#[derive(Debug)]
pub(crate) struct RawRouteMap {
    pub(crate) name: String,
    /// Where the name is.
    pub(crate) at: Range<usize>,
    pub(crate) rules: Vec<RawRouteRule>,
}

/// `[[route-map.NAME]]`
#[derive(Debug)]
pub(crate) struct RawRouteRule {
    pub(crate) at: Range<usize>,
    pub(crate) seq: Option<At<u32>>,
    pub(crate) action: Option<At<PrefixAction>>,
    pub(crate) conditions: RawConditions,
    pub(crate) changes: RawChanges,
}

/// Several values, where there are any.
pub(crate) type Several<T> = Option<At<Vec<At<T>>>>;

/// `match`
#[derive(Debug, Default)]
pub(crate) struct RawConditions {
    pub(crate) prefix_list: Several<String>,
    pub(crate) as_path: Several<AsPathExpression>,
    pub(crate) community: Several<CommunityPattern>,
    pub(crate) extended_community: Several<ExtendedCommunityPattern>,
    pub(crate) large_community: Several<LargeCommunityPattern>,
    pub(crate) next_hop: Several<IpNet>,
    pub(crate) med: Option<At<NumberRange>>,
    pub(crate) local_pref: Option<At<NumberRange>>,
    pub(crate) neighbor: Several<String>,
    pub(crate) source: Several<RouteSource>,
}

/// `set`
#[derive(Debug, Default)]
pub(crate) struct RawChanges {
    /// Where it is, if anything is set.
    pub(crate) at: Option<Range<usize>>,
    pub(crate) local_pref: Option<At<u32>>,
    pub(crate) med: Option<At<u32>>,
    pub(crate) weight: Option<At<u16>>,
    pub(crate) prepend: Option<At<u8>>,
    pub(crate) next_hop: Option<At<Ipv4Addr>>,
    pub(crate) community: RawEdit<Community, CommunityPattern>,
    pub(crate) extended_community: RawEdit<ExtendedCommunity, ExtendedCommunityPattern>,
    pub(crate) large_community: RawEdit<LargeCommunity, LargeCommunityPattern>,
}

/// `community`, `add-community` and `remove-community`, or the same of another size
#[derive(Debug)]
pub(crate) struct RawEdit<C, P> {
    pub(crate) replace: Several<C>,
    pub(crate) add: Several<C>,
    pub(crate) remove: Several<P>,
}

impl<C, P> Default for RawEdit<C, P> {
    fn default() -> Self {
        Self {
            replace: None,
            add: None,
            remove: None,
        }
    }
}

impl RawRouteMap {
    pub(super) fn read<'v>(
        name: &str,
        at: Range<usize>,
        value: &'v Spanned<DeValue<'v>>,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let rules = elements(
            value,
            "rules: [[route-map.NAME]]",
            report,
            |rule, report| RawRouteRule::read(name, rule, report),
        )?;
        Some(Self {
            name: name.to_owned(),
            at,
            rules,
        })
    }
}

impl RawRouteRule {
    fn read<'v>(
        map: &str,
        value: &'v Spanned<DeValue<'v>>,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let at = value.span();
        let what = format!("a rule of the route map {map}");
        let section = Section::open(value, at.clone(), what, &schema::ROUTE_RULE, report)?;
        Some(Self {
            at,
            seq: section.number("seq", 1..=i64::from(u32::MAX), report),
            action: section.get("action", report),
            conditions: part(&section, "match", &schema::ROUTE_MATCH, report)
                .map(|part| RawConditions::read(&part, report))
                .unwrap_or_default(),
            changes: part(&section, "set", &schema::ROUTE_SET, report)
                .map(|part| RawChanges::read(&part, report))
                .unwrap_or_default(),
        })
    }
}

/// A table inside a rule.
fn part<'v>(
    rule: &Section<'v>,
    key: &str,
    schema: &schema::Section,
    report: &mut Report<'_>,
) -> Option<Section<'v>> {
    let (name, value) = rule.entry(key)?;
    let what = format!("{key} of a route map's rule");
    Section::open(value, name.span(), what, schema, report)
}

impl RawConditions {
    fn read(section: &Section<'_>, report: &mut Report<'_>) -> Self {
        Self {
            prefix_list: section.one_or_more("prefix-list", report),
            as_path: section.one_or_more("as-path", report),
            community: section.one_or_more("community", report),
            extended_community: section.one_or_more("extended-community", report),
            large_community: section.one_or_more("large-community", report),
            next_hop: section.one_or_more("next-hop", report),
            med: section.get("med", report),
            local_pref: section.get("local-pref", report),
            neighbor: section.one_or_more("neighbor", report),
            source: section.one_or_more("source", report),
        }
    }

    /// Whether every route meets them.
    pub(crate) fn is_empty(&self) -> bool {
        fn none<T>(several: &Several<T>) -> bool {
            several.as_ref().is_none_or(|list| list.value.is_empty())
        }
        none(&self.prefix_list)
            && none(&self.as_path)
            && none(&self.community)
            && none(&self.extended_community)
            && none(&self.large_community)
            && none(&self.next_hop)
            && none(&self.neighbor)
            && none(&self.source)
            && self.med.is_none()
            && self.local_pref.is_none()
    }
}

impl RawChanges {
    fn read(section: &Section<'_>, report: &mut Report<'_>) -> Self {
        let any = 0..=i64::from(u32::MAX);
        Self {
            at: Some(section.at.clone()),
            local_pref: section.number("local-pref", any.clone(), report),
            med: section.number("med", any, report),
            weight: section.number("weight", 0..=65_535, report),
            prepend: section.number("prepend", 1..=10, report),
            next_hop: section.get("next-hop", report),
            community: RawEdit::read(section, "community", report),
            extended_community: RawEdit::read(section, "extended-community", report),
            large_community: RawEdit::read(section, "large-community", report),
        }
    }
}

impl<C: Read, P: Read> RawEdit<C, P> {
    fn read(section: &Section<'_>, key: &str, report: &mut Report<'_>) -> Self {
        let edit = Self {
            replace: section.one_or_more(key, report),
            add: section.one_or_more(&format!("add-{key}"), report),
            remove: section.one_or_more(&format!("remove-{key}"), report),
        };
        let others = [
            edit.add.as_ref().map(|at| at.span.clone()),
            edit.remove.as_ref().map(|at| at.span.clone()),
        ];
        if let (Some(replace), Some(other)) = (&edit.replace, others.into_iter().flatten().next()) {
            let message = format!("\"{key}\" replaces all, so nothing is left to add or remove");
            drop(
                report
                    .error(Code::ConflictingKeys, replace.span.clone(), message)
                    .also(other, "the other one"),
            );
        }
        edit
    }
}

impl Read for PrefixAction {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        let words = [("permit", Self::Permit), ("deny", Self::Deny)];
        value::word(value, &words, report)
    }
}

impl Read for RouteSource {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        let words = [
            ("bgp", Self::Bgp),
            ("connected", Self::Host(Redistribute::Connected)),
            ("static", Self::Host(Redistribute::Static)),
            ("kernel", Self::Host(Redistribute::Kernel)),
        ];
        value::word(value, &words, report)
    }
}

impl Read for NumberRange {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        if value.get_ref().is_integer() {
            let one = number(value, 0..=i64::from(u32::MAX), report)?;
            return Some(Self {
                low: one,
                high: one,
            });
        }
        let wanted = "a number or a range such as \"100-199\"";
        value::parsed(value, wanted, report, community::range)
    }
}

impl Read for AsPathExpression {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        let text = value::text(value, "an expression over AS paths in quotes", report)?;
        match as_path::parse(text) {
            Ok(node) => Some(Self {
                text: text.to_owned(),
                node,
            }),
            Err(problem) => {
                let message = format!("\"{text}\": {}", problem.message);
                let draft = report.error(Code::AsPath, value.span(), message);
                match problem.help {
                    Some(help) => drop(draft.help(help)),
                    None => drop(draft),
                }
                None
            }
        }
    }
}

/// Values that are a text which one function reads.
macro_rules! communities {
    ($($type:ty: $wanted:literal, $parse:path;)+) => {$(
        impl Read for $type {
            fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
                value::parsed(value, $wanted, report, $parse)
            }
        }
    )+};
}

communities! {
    Community: "a community such as \"65000:100\" or \"no-export\"", community::standard;
    CommunityPattern: "a community such as \"65000:100\", \"65000:[100-199]\" or \"no-export\"", community::standard_pattern;
    LargeCommunity: "a large community such as \"65000:1:2\"", community::large;
    LargeCommunityPattern: "a large community such as \"65000:1:2\" or \"65000:*:[1-9]\"", community::large_pattern;
    ExtendedCommunity: "an extended community such as \"rt:65000:100\", \"ro:65000:100\" or \"0x0002fde800000064\"", community::extended;
    ExtendedCommunityPattern: "an extended community such as \"rt:65000:100\" or \"rt:65000:*\"", community::extended_pattern;
}
