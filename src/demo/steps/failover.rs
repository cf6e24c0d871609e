//! A tunnel's death under traffic, in the way that is hardest to notice, and its return.
//!
//! A process that is killed leaves traces: its sockets are reset, its interface disappears. So first the way through the
//! internet is cut, where packets vanish and nobody says anything; both ends have to find out by silence. Then the daemon is
//! killed (SIGKILL) while it can tell nobody, the way is mended, and the daemon is started again without any memory of the
//! tunnel. Meanwhile flows run, and every packet of theirs is accounted for.

use std::time::{Duration, Instant};

use super::bring_up::{ENDS, agreed, wait_until_it_answers};
use super::routes::{VCN, cloud_hops, kernel_routes, network};
use super::{Tour, Verified};
use crate::demo::daemon::Daemon;
use crate::demo::probe::{FLOWS, Flow};
use crate::demo::problem::{Problem, verify};
use crate::demo::topology::{Place, at};

/// How long the flows run before anything happens, and how long they have to be whole to count as recovered.
const CALM: Duration = Duration::from_secs(1);
/// How long both ends may take to notice. The reference site's profile gives a silent BGP peer up after 18 s, and a silent
/// IKE peer after 30 s.
const NOTICE: Duration = Duration::from_secs(45);
/// How long the tunnel may take to come back.
const RETURN: Duration = Duration::from_secs(60);

/// Cuts the way to the first DRG under traffic, waits for recovery, kills the DRG's daemon, mends the way, and waits for the
/// tunnel's return.
pub(super) fn failover(tour: &mut Tour) -> Result<Verified, Problem> {
    let topology = tour.topology()?;
    let flow = Flow::start(
        topology.at(Place::Home),
        (topology.at(Place::Instance), at::INSTANCE),
    )?;
    let calm = Instant::now();
    tour.stop.pause(CALM + Duration::from_millis(600))?;
    let before = flow.losses(calm);
    verify(before.sent > 0 && before.lost == 0, || {
        format!(
            "{} of {} packets were lost before anything happened",
            before.lost, before.sent
        )
    })?;

    topology.set_first_way(false)?;
    let cut = Instant::now();
    let seen = recover(tour, &flow, cut)?;
    let outage = flow.losses(cut);
    verify(outage.hurt > 0, || {
        "no flow was on the tunnel that was cut".into()
    })?;

    let came_back = revive(tour)?;
    let mended = Instant::now();
    tour.until("the flows after the tunnel's return", NOTICE, || {
        let whole = mended.elapsed() >= CALM && flow.is_whole_since(CALM);
        Ok(if whole {
            Ok(())
        } else {
            Err("the flows settle".into())
        })
    })?;
    let afterwards = flow.losses(cut).lost - outage.lost;
    let recovery = outage.recovery.as_secs_f64();
    Ok(Verified::new(format!("recovered after {recovery:.1} s, {} of {} packets lost", outage.lost, outage.sent))
        .line("the way to 198.51.100.1 was cut in silence: no interface went down, nothing was reset, no ICMP")
        .line(format!("{} of {FLOWS} flows were on it, one way or back; the others never stopped", outage.hurt))
        .line(format!("the gateway noticed after {:.1} s: {}", seen.after.as_secs_f64(), seen.reason))
        .line(format!(
            "its daemon killed (SIGKILL), the way mended, the daemon started: tunnel, BGP and route back after {:.1} s, {afterwards} packets lost",
            came_back.as_secs_f64()
        ))
        .number("recovery_seconds", round_tenth(outage.recovery))
        .number("lost_packets", outage.lost as f64)
        .number("sent_packets", outage.sent as f64)
        .number("return_seconds", round_tenth(came_back))
        .number("lost_on_return", afterwards as f64))
}

/// What the gateway made of the cut.
struct Noticed {
    after: Duration,
    reason: String,
}

/// Waits until the gateway's kernel has one way to the VCN, and no flow loses packets any more.
fn recover(tour: &Tour, flow: &Flow, cut: Instant) -> Result<Noticed, Problem> {
    let gateway = tour.daemon(Place::Gateway)?;
    wait_for_ways(tour, "the gateway to notice", &[2], NOTICE)?;
    let after = cut.elapsed();
    let (name, _) = ENDS[0];
    let status = gateway.status()?;
    let session = status
        .bgp
        .neighbors
        .iter()
        .find(|session| session.name == name);
    let reason = session.and_then(|session| session.reason.clone());
    let reason = reason
        .or_else(|| status.tunnel(name)?.reason.clone())
        .unwrap_or_else(|| "it does not say why".into());
    tour.until("the flows to recover", NOTICE, || {
        let lost = flow.losses(cut).lost;
        Ok(if flow.is_whole_since(CALM) {
            Ok(())
        } else {
            Err(format!("{lost} packets lost so far"))
        })
    })?;
    Ok(Noticed { after, reason })
}

/// Kills the first DRG's daemon, mends the way, starts the daemon again. Returns how long it took from there until tunnel,
/// session and route were back.
fn revive(tour: &mut Tour) -> Result<Duration, Problem> {
    let (name, place) = ENDS[0];
    if let Some(daemon) = tour.daemons.remove(&place) {
        daemon.kill();
    }
    tour.topology()?.set_first_way(true)?;
    let start = Instant::now();
    let dir = tour.workspace()?.folder(place.name())?;
    let daemon = Daemon::start(place, tour.topology()?.at(place), &dir)?;
    tour.daemons.insert(place, daemon);
    wait_until_it_answers(tour, place)?;
    let (gateway, drg) = (tour.daemon(Place::Gateway)?, tour.daemon(place)?);
    tour.until("the tunnel to come back", RETURN, || {
        let (near, far) = (gateway.status()?, drg.status()?);
        Ok(
            match near.missing().into_iter().chain(far.missing()).next() {
                None => agreed(name, near.tunnel(name), &far).map(drop),
                Some(missing) => Err(missing),
            },
        )
    })?;
    wait_for_ways(tour, "two ways to the VCN", &[1, 2], RETURN)?;
    Ok(start.elapsed())
}

/// Waits until the gateway's kernel reaches the VCN by exactly these tunnels.
fn wait_for_ways(
    tour: &Tour,
    what: &'static str,
    tunnels: &[u8],
    limit: Duration,
) -> Result<(), Problem> {
    let (vcn, wanted) = (network(VCN)?, cloud_hops(tunnels));
    tour.until(what, limit, || {
        let routes = kernel_routes(tour, Place::Gateway)?;
        let hops = routes.get(&vcn);
        let count = hops.map_or(0, std::collections::BTreeSet::len);
        Ok(if hops == Some(&wanted) {
            Ok(())
        } else {
            Err(format!("{count} ways to the VCN"))
        })
    })
}

fn round_tenth(span: Duration) -> f64 {
    (span.as_secs_f64() * 10.0).round() / 10.0
}
