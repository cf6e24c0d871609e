//! Ranges of neighbors.

use std::collections::BTreeMap;
use std::ops::Range;

use ipnet::Ipv4Net;

use crate::code::Code;
use crate::diagnostic::Report;
use crate::model::Role;
use crate::read::{At, RawNeighbor};

/// A wider network is no network of nodes.
const WIDEST: u8 = 8;

pub(super) fn check(neighbors: &[RawNeighbor], report: &mut Report<'_>) {
    let mut seen: BTreeMap<Ipv4Net, Range<usize>> = BTreeMap::new();
    for neighbor in neighbors {
        let Some(At {
            value: network,
            span,
        }) = &neighbor.range
        else {
            continue;
        };
        let name = &neighbor.name;
        if network.prefix_len() < WIDEST {
            let message = format!(
                "neighbor {name}: {network} is wider than a /{WIDEST}, so that nearly anybody would be a neighbor"
            );
            drop(report.error(Code::NeighborRange, span.clone(), message));
        }
        if let Some(first) = seen.insert(*network, span.clone()) {
            let message = format!("neighbor {name}: another section has the range {network} too");
            drop(
                report
                    .error(Code::NeighborRange, span.clone(), message)
                    .also(first, "also here"),
            );
        }
        if let Some(At { span, .. }) = (neighbor.role.as_ref()).filter(|it| it.value == Role::Cloud)
        {
            let message = format!("neighbor {name}: a cloud's gateway is not in a range");
            drop(report.error(Code::NeighborRange, span.clone(), message));
        }
        for (key, span) in without_meaning(neighbor) {
            let message = format!("neighbor {name}: \"{key}\" does not go with \"range\"");
            drop(
                report
                    .error(Code::NeighborRange, span, message)
                    .help("leave it out, or give each neighbor its address in `addresses`"),
            );
        }
        let asns = neighbor.remote_asns.as_ref();
        if let Some(At { span, .. }) = asns.filter(|list| list.value.is_empty()) {
            let message = format!("neighbor {name}: no AS is allowed, so nobody could connect");
            drop(report.error(Code::NeighborRange, span.clone(), message));
        }
    }
}

/// What is written and needs a neighbor with an address of its own.
fn without_meaning(neighbor: &RawNeighbor) -> impl Iterator<Item = (&'static str, Range<usize>)> {
    let span = |at: Option<Range<usize>>, key| Some((key, at?));
    [
        span(neighbor.md5.as_ref().map(|it| it.span.clone()), "md5"),
        span(neighbor.bfd.as_ref().map(|it| it.span.clone()), "bfd"),
        span(neighbor.port.as_ref().map(|it| it.span.clone()), "port"),
        span(
            neighbor.passive.as_ref().map(|it| it.span.clone()),
            "passive",
        ),
    ]
    .into_iter()
    .flatten()
}
