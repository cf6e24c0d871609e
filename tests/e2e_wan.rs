//! The outer addresses change: ours, or the peers'.

use lab::{Connection, ReferenceSite, Scene, SiteFile, addresses as at, eventually_true, ping};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// Who the gateway says that it is, whatever its address.
const NAME: &str = "home.example.net";

/// The address that it gets.
const NEW: &str = "203.0.113.77";

/// A gateway without an address of its own in the site file. What liveness would find takes longer than the whole test.
fn wandering() -> SiteFile {
    let slow = format!("local-id = \"{NAME}\"\nliveness = \"60s\"\nliveness-timeout = \"120s\"");
    SiteFile::reference()
        .replace("address = \"203.0.113.10\"", "address = \"auto\"")
        .add("tunnel.oci-1", &slow)
        .add("tunnel.oci-2", &slow)
}

/// The head-ends' side of it: the gateway is known by its name.
fn from_anywhere(_: usize, connection: &mut Connection) {
    connection.remote = "%any".to_owned();
    connection.remote_id = NAME.to_owned();
}

/// What a DHCP client does with another lease.
fn renumber(site: &ReferenceSite) {
    site.gateway.ip(&format!(
        "addr del {}/24 dev wan0\naddr add {NEW}/24 dev wan0\nroute add default via 203.0.113.1\n",
        at::GATEWAY
    ));
}

fn assert_traffic(scene: &Scene) {
    for (from, to) in [
        (&scene.site.home, at::INSTANCE),
        (&scene.site.instance, at::HOME),
    ] {
        let pinged = ping(from, to, 3, &[]);
        assert!(pinged.all(), "{}", pinged.text);
    }
}

#[test]
fn another_address_on_the_wan_moves_both_tunnels_at_once_and_no_session_is_lost() {
    let scene = Scene::start_with(ReferenceSite::new(), CAUSEWAY, &wandering(), from_anywhere);
    scene.wait_until_up();
    renumber(&scene.site);
    for index in [0, 1] {
        eventually_true(
            Scene::SOON,
            "the head-end has the new address, and only it",
            || {
                let sas = scene.cloud.swan[index].list_sas();
                sas.len() == 1
                    && sas[0].state == "ESTABLISHED"
                    && sas[0].remote_host == NEW
                    && scene.cloud.swan[index].installed().len() == 1
            },
        );
        assert!(scene.ping_inside(index).all());
    }
    scene.wait_until_up();
    assert_traffic(&scene);
    let log = scene.gateway.log();
    for remote in at::HEAD_ENDS {
        let why = format!(
            "our address towards {remote} is {NEW} now, on wan0, and was {}",
            at::GATEWAY
        );
        assert!(log.contains(&why), "{log}");
    }
    assert!(!log.contains("tunnel down"), "{log}");
    assert!(!log.contains("does not answer"), "{log}");
}
