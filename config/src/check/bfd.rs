//! A neighbor's BFD: what cannot work, and what would notice nothing.

use std::time::Duration;

use crate::code::Code;
use crate::diagnostic::Report;
use crate::model::duration_text;
use crate::read::{At, RawNeighbor, RawTunnel};
use crate::resolve::{BFD_INTERVAL, BFD_MULTIPLIER};

/// Faster than this no scheduler of a busy gateway can be relied on, and a false alarm takes all routes away.
const FASTEST: Duration = Duration::from_millis(50);
/// Slower than this BGP's own hold time is no worse.
const SLOWEST: Duration = Duration::from_secs(60);

pub(super) fn check(
    neighbor: &RawNeighbor,
    tunnel: Option<&RawTunnel>,
    hold: Duration,
    report: &mut Report<'_>,
) {
    let Some(At { value: bfd, span }) = &neighbor.bfd else {
        return;
    };
    let name = &neighbor.name;
    for (key, interval) in [("min-tx", &bfd.min_tx), ("min-rx", &bfd.min_rx)] {
        if let Some(At { value, span }) = interval
            && !(FASTEST..=SLOWEST).contains(value)
        {
            let text = duration_text(*value);
            let message = format!("neighbor {name}: a {key} of {text} is not from 50ms to 1m");
            drop(report.error(Code::Bfd, span.clone(), message));
        }
    }
    if let Some(At { value: 1, span }) = &bfd.multiplier {
        let message = format!(
            "neighbor {name}: with a multiplier of 1 a single lost packet ends the session"
        );
        drop(
            report
                .warning(Code::Bfd, span.clone(), message)
                .help("3 is usual"),
        );
    }
    let slowest = |key: &Option<At<Duration>>| key.as_ref().map_or(BFD_INTERVAL, |at| at.value);
    let multiplier = bfd
        .multiplier
        .as_ref()
        .map_or(BFD_MULTIPLIER, |at| at.value);
    // The neighbor's multiplier is what counts for us and ours for it, so this is a guess that both are alike.
    let noticed = slowest(&bfd.min_tx).max(slowest(&bfd.min_rx)) * u32::from(multiplier);
    if !hold.is_zero() && noticed >= hold {
        let (noticed, hold) = (duration_text(noticed), duration_text(hold));
        let message = format!(
            "neighbor {name}: BFD notices after {noticed} what the hold time of {hold} notices sooner"
        );
        drop(report.warning(Code::Bfd, span.clone(), message));
    }
    if let Some(At { value: true, span }) = &bfd.multihop {
        multihop(neighbor, span.clone(), report);
    }
    if let Some(tunnel) = tunnel
        && !tunnel.facts().bfd
    {
        let peer = tunnel.facts().peer;
        let strict = bfd.strict.as_ref().filter(|strict| strict.value);
        let draft = match strict {
            Some(strict) => {
                let message = format!(
                    "neighbor {name}: {peer} offers no BFD through its tunnels, so with strict BGP never comes up"
                );
                report.error(Code::Bfd, strict.span.clone(), message)
            }
            None => {
                let message = format!(
                    "neighbor {name}: {peer} offers no BFD through its tunnels, so it stays down and notices nothing"
                );
                report.warning(Code::Bfd, span.clone(), message)
            }
        };
        drop(draft.help("leave it out: the tunnel's own liveness ends what goes through it"));
    }
}

fn multihop(neighbor: &RawNeighbor, span: std::ops::Range<usize>, report: &mut Report<'_>) {
    let name = &neighbor.name;
    if let Some(tunnel) = &neighbor.tunnel {
        let message =
            format!("neighbor {name}: the other end of a tunnel is one hop away, and not several");
        drop(
            report
                .error(Code::ConflictingKeys, span, message)
                .also(tunnel.span.clone(), "the tunnel"),
        );
    } else if let Some(security) = neighbor
        .ttl_security
        .as_ref()
        .filter(|security| security.value)
    {
        let message = format!(
            "neighbor {name}: bfd says that routers may lie between, and ttl-security that none does"
        );
        drop(
            report
                .error(Code::ConflictingKeys, span, message)
                .also(security.span.clone(), "the other one"),
        );
    }
}
