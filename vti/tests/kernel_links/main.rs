//! The interfaces that the kernel encrypts for, made, changed, adopted and replaced by the reconciler and seen through `ip`. Needs
//! root, and a kernel that has them: the tests of `tests/in_vm` run these in a virtual machine.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what the tests share is test code too"
)]

#[path = "../host/sandbox.rs"]
#[allow(dead_code, reason = "the reconciler's other tests use the rest")]
mod sandbox;

use std::collections::BTreeMap;
use std::process::Command;

use sandbox::{State, hop, ip, ip_json, name, net, route, sandbox, shown, sysctl};
use serde_json::Value;
use vti::{
    diff::Concern,
    op::Op,
    plan::{Desired, LinkDesired, LinkKind},
};

const KEY: u32 = 0xca05_0001;
const IF_ID: u32 = 0xca05_0002;

/// One tunnel on each kind, and a route over both.
fn desired(vti: LinkKind, if_id: u32) -> Desired {
    let link = |tunnel, address| LinkDesired::new(tunnel, 1400, [net(address)]);
    let xfrm = LinkKind::Xfrm { if_id };
    let desired = Desired::default()
        .with_gateway_sysctls(false)
        .with_tunnel(name("cw-v"), link("oci-1", "10.1.0.0/31").of(vti))
        .with_tunnel(name("cw-x"), link("oci-2", "10.2.0.0/31").of(xfrm));
    let hops = [hop("cw-v", "10.1.0.1"), hop("cw-x", "10.2.0.1")];
    route(desired, "10.20.0.0/16", &hops)
}

fn vti(key: u32, local: Option<&str>) -> LinkKind {
    LinkKind::Vti {
        key,
        local: local.map(|text| text.parse().unwrap()),
        remote: "198.51.100.1".parse().unwrap(),
    }
}

fn standard() -> Desired {
    desired(vti(KEY, Some("192.168.1.1")), IF_ID)
}

/// A sandbox on a kernel that has what these tests are about.
fn kernel_sandbox<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    sandbox(|| {
        for probe in [
            "vti local 192.0.2.1 remote 192.0.2.2 key 1",
            "xfrm dev lo if_id 1",
        ] {
            let made = Command::new("ip")
                .args(["link", "add", "dev", "probe"])
                .arg("type")
                .args(probe.split(' '))
                .status()
                .unwrap();
            assert!(
                made.success(),
                "this kernel has no interfaces of the kind `{probe}`: these tests belong into the virtual machine (cargo nextest run --test in_vm kernel_links)"
            );
            ip("link del dev probe");
        }
        test()
    });
}

fn link(dev: &str) -> Value {
    ip_json(&format!("-d link show dev {dev}")).remove(0)
}

fn data(dev: &str) -> Value {
    link(dev)["linkinfo"]["info_data"].clone()
}

#[test]
fn each_kind_is_made_with_its_key_its_settings_and_its_routes() {
    kernel_sandbox(async || {
        let state = State::new("kernel-made");
        let report = state.start().await.reconcile(&standard()).await.unwrap();
        assert!(
            report.is_settled() && report.concerns.is_empty(),
            "{report:?}"
        );

        assert_eq!(link("cw-v")["linkinfo"]["info_kind"], "vti");
        let vti = data("cw-v");
        assert_eq!(
            (&vti["local"], &vti["remote"]),
            (&"192.168.1.1".into(), &"198.51.100.1".into())
        );
        assert_eq!(
            (&vti["ikey"], &vti["okey"]),
            (&"202.5.0.1".into(), &"202.5.0.1".into()),
            "{vti}"
        );
        assert_eq!(link("cw-x")["linkinfo"]["info_kind"], "xfrm");
        assert_eq!(data("cw-x")["if_id"], "0xca050002");
        for (dev, alias) in [("cw-v", "causeway:oci-1"), ("cw-x", "causeway:oci-2")] {
            assert_eq!(link(dev)["ifalias"], alias);
            assert_eq!(link(dev)["mtu"], 1400);
            for (leaf, value) in [
                ("rp_filter", "2"),
                ("disable_xfrm", "0"),
                ("forwarding", "1"),
            ] {
                assert_eq!(
                    sysctl(&format!("net/ipv4/conf/{dev}/{leaf}")),
                    value,
                    "{dev} {leaf}"
                );
            }
        }
        assert_eq!(sysctl("net/ipv4/conf/cw-v/disable_policy"), "1");
        assert_eq!(sysctl("net/ipv4/conf/cw-x/disable_policy"), "0");
        assert_eq!(shown("10.20.0.0/16"), ["10.1.0.1 cw-v", "10.2.0.1 cw-x"]);

        // The next run adopts all of it, and nothing at all is left by the one that asks for nothing.
        let again = state.start().await.reconcile(&standard()).await.unwrap();
        assert_eq!(again.applied, []);
        let mut last = state.start().await;
        assert!(
            last.reconcile(&Desired::default())
                .await
                .unwrap()
                .is_settled()
        );
        assert!(!ip("link show").contains("cw-"));
        assert!(!state.exists());
    });
}

#[test]
fn a_vti_moves_in_place_and_an_xfrm_interface_with_another_if_id_is_made_anew() {
    kernel_sandbox(async || {
        let state = State::new("kernel-moved");
        let mut host = state.start().await;
        // Our own address is not known yet.
        assert!(
            host.reconcile(&desired(vti(KEY, None), IF_ID))
                .await
                .unwrap()
                .is_settled()
        );
        assert_eq!(data("cw-v")["local"], "any");
        let index = link("cw-v")["ifindex"].clone();

        let moved = desired(vti(KEY, Some("192.168.1.1")), IF_ID + 1);
        let report = host.reconcile(&moved).await.unwrap();
        assert!(report.is_settled(), "{report:?}");
        assert_eq!(
            (&link("cw-v")["ifindex"], &data("cw-v")["local"]),
            (&index, &"192.168.1.1".into())
        );
        assert_eq!(link("cw-v")["mtu"], 1400);
        assert_eq!(data("cw-x")["if_id"], "0xca050003");
        assert_eq!(shown("10.20.0.0/16").len(), 2);
        host.invalidate();
        assert_eq!(host.reconcile(&moved).await.unwrap().applied, []);

        ip("link change dev cw-v type vti local 192.168.1.1 remote 198.51.100.1 ikey 5 okey 6");
        host.invalidate();
        let report = host.reconcile(&moved).await.unwrap();
        assert!(
            matches!(report.applied[..], [Op::ChangeLink { .. }]),
            "{report:?}"
        );
        assert_eq!(data("cw-v")["ikey"], "202.5.0.1");
    });
}

#[test]
fn what_is_deleted_comes_back_with_all_that_was_on_it() {
    kernel_sandbox(async || {
        let state = State::new("kernel-deleted");
        let mut host = state.start().await;
        host.reconcile(&standard()).await.unwrap();
        for _ in 0..5 {
            ip("link del dev cw-x");
            ip("link del dev cw-v");
            host.invalidate();
            let report = host.reconcile(&standard()).await.unwrap();
            assert!(report.is_settled(), "{report:?}");
            assert_eq!(shown("10.20.0.0/16").len(), 2);
            assert_eq!(sysctl("net/ipv4/conf/cw-v/disable_policy"), "1");
        }
        // A TUN in the place of one of them, with our mark: left over from another data plane.
        ip("link del dev cw-x");
        ip("tuntap add dev cw-x mode tun");
        ip("link set dev cw-x alias causeway:oci-2");
        host.invalidate();
        assert!(host.reconcile(&standard()).await.unwrap().is_settled());
        assert_eq!(link("cw-x")["linkinfo"]["info_kind"], "xfrm");
    });
}

#[test]
fn what_a_person_prepared_is_taken_over_and_what_belongs_to_others_is_not() {
    kernel_sandbox(async || {
        ip("link add dev cw-x type xfrm dev lo if_id 0xca050002");
        ip("link add dev cw-v type vti local 192.168.1.1 remote 198.51.100.1 key 77");
        let index = link("cw-x")["ifindex"].clone();
        let before = ip("-d address show dev cw-v");
        let fallback = ip("-d address show dev ip_vti0");
        let state = State::new("kernel-prepared");
        let mut host = state.start().await;
        let report = host.reconcile(&standard()).await.unwrap();
        assert_eq!(report.adopted, [name("cw-x")]);
        assert!(
            matches!(&report.concerns[0], Concern::LinkForeign { dev, kind, .. } if *dev == name("cw-v") && kind.ends_with("key 0x4d")),
            "{:?}",
            report.concerns
        );
        assert_eq!(link("cw-x")["ifindex"], index);
        assert_eq!(link("cw-x")["ifalias"], "causeway:oci-2");
        host.reconcile(&Desired::default()).await.unwrap();
        assert_eq!(ip("-d address show dev cw-v"), before);
        assert_eq!(ip("-d address show dev ip_vti0"), fallback);
        assert!(!ip("link show").contains("cw-x"));
    });
}

/// What the commands below are to bring about, without the numbers that differ between two namespaces.
fn picture() -> BTreeMap<String, Vec<String>> {
    let mut picture = BTreeMap::new();
    for dev in ["cw-v", "cw-x"] {
        let link = link(dev);
        let mut lines: Vec<String> = ["flags", "mtu", "ifalias", "linkinfo", "operstate"]
            .map(|key| link[key].to_string())
            .into();
        for address in ip_json(&format!("-4 address show dev {dev}"))[0]["addr_info"]
            .as_array()
            .unwrap()
        {
            lines.push(format!("{}/{}", address["local"], address["prefixlen"]));
        }
        for leaf in ["rp_filter", "disable_policy", "disable_xfrm", "forwarding"] {
            lines.push(format!(
                "{leaf} {}",
                sysctl(&format!("net/ipv4/conf/{dev}/{leaf}"))
            ));
        }
        picture.insert(dev.to_owned(), lines);
    }
    picture.insert("nexthops".into(), vec![ip("nexthop show")]);
    picture.insert("routes".into(), vec![ip("route show")]);
    picture.insert("forwarding".into(), vec![sysctl("net/ipv4/ip_forward")]);
    picture
}

#[test]
fn the_printed_commands_do_what_the_operations_do() {
    let (told, told_by) = std::sync::mpsc::channel();
    kernel_sandbox(async move || {
        let mut host = State::new("kernel-applied").start().await;
        // What is moved is changed, and what is of another kind is made anew: these are printed as well.
        let first = desired(vti(KEY, None), IF_ID + 7);
        let mut commands: Vec<String> = Vec::new();
        for desired in [first, standard()] {
            let report = host.reconcile(&desired).await.unwrap();
            assert!(report.is_settled(), "{report:?}");
            commands.extend(report.applied.iter().map(ToString::to_string));
        }
        told.send((commands, picture())).unwrap();
    });
    let (commands, applied) = told_by.recv().unwrap();
    kernel_sandbox(async move || {
        for command in &commands {
            let done = Command::new("sh").args(["-c", command]).output().unwrap();
            let complaint = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "{command}: {complaint}");
        }
        assert_eq!(picture(), applied, "{commands:#?}");
        let mut host = State::new("kernel-typed").start().await;
        assert_eq!(host.reconcile(&standard()).await.unwrap().applied, []);
    });
}
