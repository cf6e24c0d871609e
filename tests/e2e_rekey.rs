//! Rekeys of CHILD and IKE SAs, from either side, under traffic in both directions: no packet is lost.

use lab::{Scene, eventually_true};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// How many packets of each flow pass before and after a rekey.
const SETTLE: u64 = 100;

/// Runs `rekey` under traffic in both directions and waits until `done`.
#[track_caller]
fn under_traffic(scene: &Scene, rekey: impl FnOnce(), done: impl Fn() -> bool) {
    let flows = [scene.flow_to_the_cloud(), scene.flow_from_the_cloud()];
    for flow in &flows {
        flow.wait_for(SETTLE, Scene::SOON);
    }
    rekey();
    let took = eventually_true(Scene::SOON, "the rekey is done", done);
    println!("rekeyed after {took:?}");
    for flow in &flows {
        flow.wait_for(SETTLE, Scene::SOON);
    }
    for flow in flows {
        flow.stop_without_loss();
    }
}

/// The number of a head-end's IKE_SA, when it has exactly one.
fn ike_number(scene: &Scene, index: usize) -> Option<u32> {
    match scene.cloud.swan[index].list_sas().as_slice() {
        [sa] if sa.state == "ESTABLISHED" => Some(sa.unique_id),
        _ => None,
    }
}

/// The number of a head-end's child, when it has exactly one.
fn child_number(scene: &Scene, index: usize) -> Option<u32> {
    let sas = scene.cloud.swan[index].list_sas();
    let mut children = sas.into_iter().flat_map(|sa| sa.children);
    let child = children.next()?;
    (children.next().is_none() && child.state == "INSTALLED").then_some(child.unique_id)
}

#[test]
fn a_child_rekeyed_by_the_peer_loses_no_packet() {
    let scene = Scene::up(CAUSEWAY);
    for index in [0, 1] {
        let before = child_number(&scene, index);
        under_traffic(
            &scene,
            || assert!(scene.cloud.swan[index].rekey_child("cpe").ok()),
            || child_number(&scene, index).is_some_and(|now| Some(now) != before),
        );
        assert!(scene.child(index).suite.ends_with("ECP_384"), "with PFS");
    }
}

#[test]
fn an_ike_sa_rekeyed_by_the_peer_loses_no_packet_and_keeps_its_child() {
    let scene = Scene::up(CAUSEWAY);
    for index in [0, 1] {
        let (before, child) = (ike_number(&scene, index), scene.child(index).spi_in);
        under_traffic(
            &scene,
            || assert!(scene.cloud.swan[index].rekey_ike("cpe").ok()),
            || ike_number(&scene, index).is_some_and(|now| Some(now) != before),
        );
        assert_eq!(scene.child(index).spi_in, child);
    }
}

#[test]
fn a_rekey_by_hand_from_our_side_replaces_both_sas_without_loss() {
    let scene = Scene::up(CAUSEWAY);
    let (ike, child) = (ike_number(&scene, 0), child_number(&scene, 0));
    under_traffic(
        &scene,
        || {
            let rekeyed = scene.gateway.command(&["tunnel", "oci-1", "rekey"]);
            assert!(rekeyed.ok(), "{}", rekeyed.stderr);
        },
        || {
            ike_number(&scene, 0).is_some_and(|now| Some(now) != ike)
                && child_number(&scene, 0).is_some_and(|now| Some(now) != child)
        },
    );
    assert!(scene.ping_inside(0).all());
}

#[test]
fn both_sides_rekeying_at_the_same_time_end_with_one_child_and_lose_nothing() {
    let scene = Scene::up(CAUSEWAY);
    let before = child_number(&scene, 0);
    under_traffic(
        &scene,
        || {
            std::thread::scope(|scope| {
                scope.spawn(|| scene.cloud.swan[0].rekey_child("cpe"));
                scope.spawn(|| scene.gateway.command(&["tunnel", "oci-1", "rekey"]));
            });
        },
        || child_number(&scene, 0).is_some_and(|now| Some(now) != before),
    );
    assert!(scene.ping_inside(0).all());
}

#[test]
fn our_rekeys_are_planned_well_before_the_peers_own() {
    let scene = Scene::up(CAUSEWAY);
    for name in ["oci-1", "oci-2"] {
        let tunnel = scene.gateway.tunnel(name);
        // Of 3600 s a child lives 55 to 65 %, of 28800 s an IKE_SA 70 to 85 %; Oracle begins at 2520 s and 27720 s.
        let child = tunnel["children"][0]["rekey_in_seconds"].as_u64();
        assert!(
            child.is_some_and(|s| (1900..=2340).contains(&s)),
            "{tunnel}"
        );
        let ike = tunnel["ike"]["rekey_in_seconds"].as_u64();
        assert!(
            ike.is_some_and(|s| (20_000..=24_480).contains(&s)),
            "{tunnel}"
        );
    }
}
