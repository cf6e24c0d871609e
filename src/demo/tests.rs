//! The stage and the probes, without daemons: that they see what happens, failures above all.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::probe::{ATTEMPTS, Attempt, Echo, FLOWS, Flow, Service, knock, spread, transfer};
use super::stop::Stop;
use super::topology::{Place, Topology, at};

const SOON: Duration = Duration::from_secs(5);

/// A stage with names of its own. Not a demo's, which a demo that starts meanwhile would sweep.
fn stage() -> Topology {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Topology::build(&format!("cwstage-{}-{number}-", std::process::id())).unwrap()
}

fn answers(stop: &Stop, stage: &Topology, to: Ipv4Addr) -> bool {
    Echo::open(stage.at(Place::Gateway), to)
        .unwrap()
        .ask(stop)
        .unwrap()
        .is_some()
}

#[test]
fn the_first_way_can_be_cut_without_the_second_one_noticing() {
    let (stop, stage) = (Stop::default(), stage());
    for drg in at::DRGS {
        let trips = Echo::open(stage.at(Place::Gateway), drg)
            .unwrap()
            .series(&stop, SOON, 3)
            .unwrap();
        assert!(trips.to_string().starts_with("3/3 answered"), "{trips}");
    }
    stage.set_first_way(false).unwrap();
    assert!(!answers(&stop, &stage, at::DRGS[0]));
    assert!(answers(&stop, &stage, at::DRGS[1]));
    stage.set_first_way(true).unwrap();
    assert!(answers(&stop, &stage, at::DRGS[0]));
}

#[test]
fn home_and_cloud_do_not_reach_each_other_without_causeway() {
    let (stop, stage) = (Stop::default(), stage());
    let echo = Echo::open(stage.at(Place::Home), at::INSTANCE)
        .unwrap()
        .series(&stop, Duration::ZERO, 1);
    assert!(echo.is_err());
}

#[test]
fn a_transfer_arrives_as_it_was_sent() {
    let (stop, stage) = (Stop::default(), stage());
    let to = (stage.at(Place::Drg1), at::DRGS[0]);
    let done = transfer(
        &stop,
        stage.at(Place::Gateway),
        to,
        Duration::from_millis(100),
    )
    .unwrap();
    assert!(done.octets > 0 && done.megabits() > 0.0, "{done:?}");
}

#[test]
fn a_transfer_that_finds_no_way_says_so() {
    let (stop, stage) = (Stop::default(), stage());
    // The stage has no route from the internet into the home network.
    let to = (stage.at(Place::Home), at::HOME);
    let failed =
        transfer(&stop, stage.at(Place::Drg1), to, Duration::from_millis(100)).unwrap_err();
    assert!(
        failed.to_string().contains("cannot send to 192.168.2.250"),
        "{failed}"
    );
}

#[test]
fn flows_measure_how_long_a_way_was_cut() {
    let (stop, stage) = (Stop::default(), stage());
    let flow = Flow::start(
        stage.at(Place::Gateway),
        (stage.at(Place::Drg1), at::DRGS[0]),
    )
    .unwrap();
    stop.until(
        "a calm start",
        SOON,
        |_| {},
        || {
            Ok(flow
                .is_whole_since(Duration::from_millis(200))
                .then_some(())
                .ok_or_else(String::new))
        },
    )
    .unwrap();
    stage.set_first_way(false).unwrap();
    let cut = Instant::now();
    stop.until(
        "losses",
        SOON,
        |_| {},
        || {
            let all = flow.losses(cut).hurt == FLOWS;
            Ok(all.then_some(()).ok_or_else(String::new))
        },
    )
    .unwrap();
    stage.set_first_way(true).unwrap();
    let outage = cut.elapsed();
    stop.until(
        "recovery",
        SOON,
        |_| {},
        || {
            Ok(flow
                .is_whole_since(Duration::from_millis(200))
                .then_some(())
                .ok_or_else(String::new))
        },
    )
    .unwrap();
    let losses = flow.losses(cut);
    assert!(
        losses.lost >= FLOWS && losses.lost < losses.sent,
        "{losses:?}"
    );
    assert!(
        losses.recovery <= outage + Duration::from_millis(200),
        "{losses:?}, cut for {outage:?}"
    );
}

#[test]
fn a_service_answers_with_its_nodes_name() {
    let (stop, stage) = (Stop::default(), stage());
    let service = Service::start(stage.at(Place::Node2), at::NODES[1], "node-2").unwrap();
    let answers = spread(&stop, stage.at(Place::Gateway), at::NODES[1], 5).unwrap();
    assert_eq!(
        answers.into_iter().collect::<Vec<_>>(),
        [("node-2".to_owned(), 5)]
    );
    drop(service);
    assert!(spread(&stop, stage.at(Place::Gateway), at::NODES[1], 1).is_err());
}

#[test]
fn without_a_firewall_a_stranger_is_answered() {
    let (stop, stage) = (Stop::default(), stage());
    stage
        .at(Place::Gateway)
        .sysctl("net/ipv4/icmp_ratelimit", "0")
        .unwrap();
    for attempt in Attempt::ALL {
        // Nobody listens, so the kernel says "unreachable".
        let from = (stage.at(Place::Stranger), at::STRANGER);
        let answers = knock(&stop, from, at::WAN, attempt).unwrap();
        assert!(
            (1..=ATTEMPTS as usize).contains(&answers),
            "{attempt:?}: {answers}"
        );
    }
}
