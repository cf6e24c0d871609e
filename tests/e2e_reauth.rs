//! A peer that reauthenticates: it sets up a new IKE SA with all proofs in place of the one that there is, before or after it deletes that.

use lab::{HeadEnd, ReferenceSite, Scene, SiteFile, StrongSwan, eventually_true};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// How many packets of each flow pass before and after.
const SETTLE: u64 = 100;

fn swan(scene: &Scene, index: usize) -> &StrongSwan {
    match &scene.cloud.swan[index] {
        HeadEnd::StrongSwan(swan) => swan,
        HeadEnd::Libreswan(_) => panic!("this test is about strongSwan: unset CAUSEWAY_LAB_PEERS"),
    }
}

/// The number of a head-end's IKE_SA, when it has exactly one with one child that carries traffic.
fn number(scene: &Scene, index: usize) -> Option<u32> {
    match swan(scene, index).list_sas().as_slice() {
        [sa] if sa.state == "ESTABLISHED" => match sa.children.as_slice() {
            [child] if child.state == "INSTALLED" => Some(sa.unique_id),
            _ => None,
        },
        _ => None,
    }
}

/// Has a head-end reauthenticate and waits until both sides have the new SA and no other.
#[track_caller]
fn reauthenticate(scene: &Scene, index: usize) {
    let before = number(scene, index);
    assert!(before.is_some(), "the head-end has one IKE_SA");
    let said = swan(scene, index).reauthenticate("cpe");
    assert!(said.ok(), "{}{}", said.stdout, said.stderr);
    let took = eventually_true(Scene::SOON, "the head-end has another IKE_SA alone", || {
        number(scene, index).is_some_and(|now| Some(now) != before)
    });
    println!("reauthenticated after {took:?}");
    let tunnel = ["oci-1", "oci-2"][index];
    let inbound = scene.child(index).spi_out;
    eventually_true(Scene::SOON, "we have the same child alone", || {
        let status = scene.gateway.tunnel(tunnel);
        let children = status["children"].as_array().cloned().unwrap_or_default();
        children.len() == 1 && children[0]["spi_in"] == inbound.as_str()
    });
}

#[test]
fn a_peer_that_makes_the_new_sa_before_it_breaks_the_old_one_loses_no_packet() {
    let file = SiteFile::reference()
        .add("tunnel.oci-1", "initiate = false")
        .add("tunnel.oci-2", "initiate = false");
    let site = ReferenceSite::new();
    let scene = Scene::start_with(site, CAUSEWAY, &file, |_, connection| {
        connection.make_before_break = true;
    });
    for index in [0, 1] {
        let said = swan(&scene, index).initiate("cpe");
        assert!(said.ok(), "{}{}", said.stdout, said.stderr);
    }
    scene.wait_until_up();
    for index in [0, 1] {
        let flows = [scene.flow_to_the_cloud(), scene.flow_from_the_cloud()];
        for flow in &flows {
            flow.wait_for(SETTLE, Scene::SOON);
        }
        reauthenticate(&scene, index);
        for flow in &flows {
            flow.wait_for(SETTLE, Scene::SOON);
        }
        for flow in flows {
            flow.stop_without_loss();
        }
    }
    let log = scene.gateway.log();
    assert!(!log.contains("tunnel down"), "{log}");
    assert_eq!(log.matches("IKE_SA established").count(), 4, "{log}");
}

#[test]
fn a_peer_that_breaks_the_old_sa_first_has_one_new_one_though_both_begin_it() {
    let scene = Scene::up(CAUSEWAY);
    for index in [0, 1] {
        reauthenticate(&scene, index);
    }
    scene.wait_until_up();
    for index in [0, 1] {
        assert!(scene.ping_inside(index).all());
    }
    scene.assert_traffic(3);
    let log = scene.gateway.log();
    assert!(log.matches("IKE_SA established").count() >= 4, "{log}");
}
