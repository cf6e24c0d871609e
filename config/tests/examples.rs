//! Every file under `examples/` is a good site, and the reference site is what its owner asked for.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its files has failed"
)]

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use config::model::{Alias, Asn, Auth, Networks, Policy, Role, SecretSource, UpdateSource};
use config::{Severity, Site, Source, Unseen, load, render};

#[test]
fn every_example_loads_without_a_warning() {
    let mut count = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.display().to_string();
        let source = Source::new(&name, &text);
        let loaded = load(&source, &Unseen);
        let bad: Vec<_> = loaded
            .diagnostics
            .iter()
            .filter(|each| each.severity != Severity::Note)
            .cloned()
            .collect();
        assert!(
            bad.is_empty(),
            "{}",
            render::all(&source, &bad, render::Colour::Never)
        );
        assert!(loaded.site.is_some(), "{name}");
        count += 1;
    }
    assert!(count >= 2, "found {count} examples");
}

#[test]
fn the_minimal_example_is_short() {
    let text = std::fs::read_to_string(folder().join("minimal-oci.toml")).unwrap();
    assert!(text.lines().count() <= 25);
    let site = site("minimal-oci.toml");
    let tunnel = site.tunnel("oci-1").unwrap();
    assert_eq!(
        tunnel.ike.first().unwrap().to_string(),
        "aes256-sha384-ecp384"
    );
    assert_eq!(
        tunnel.esp.first().unwrap().to_string(),
        "aes256gcm16-ecp384-modp2048-modp1536"
    );
}

#[test]
fn the_reference_site_has_its_two_tunnels() {
    let site = site("reference-site.toml");
    let facts = |name| {
        let tunnel = site.tunnel(name).unwrap();
        (
            tunnel.inside.ours,
            tunnel.inside.peer,
            tunnel.inside.prefix_len,
            tunnel.reqid,
            tunnel.interface.clone(),
        )
    };
    let (even, odd) = (Ipv4Addr::new(10, 1, 0, 0), Ipv4Addr::new(10, 1, 0, 1));
    assert_eq!(facts("oci-1"), (even, odd, 31, 1, "cw-oci-1".to_owned()));
    let (even, odd) = (Ipv4Addr::new(10, 2, 0, 0), Ipv4Addr::new(10, 2, 0, 1));
    assert_eq!(facts("oci-2"), (even, odd, 31, 2, "cw-oci-2".to_owned()));
    let tunnel = site.tunnel("oci-1").unwrap();
    assert_eq!(
        tunnel.ike.first().unwrap().to_string(),
        "aes256-sha1-modp2048"
    );
    assert_eq!(
        tunnel.auth,
        Auth::Psk(SecretSource::File(PathBuf::from("/etc/causeway/oci-1.psk")))
    );
    assert_eq!(
        tunnel.local_id.as_ref().unwrap().to_string(),
        "203.0.113.10"
    );
    assert_eq!(tunnel.remote_id.to_string(), "198.51.100.1");
}

#[test]
fn the_reference_site_has_five_neighbors_and_its_lists() {
    let site = site("reference-site.toml");
    let bgp = site.bgp.as_ref().unwrap();
    assert_eq!(
        (bgp.asn, bgp.maximum_paths, bgp.multipath_relax),
        (Asn(65_000), 16, true)
    );
    assert_eq!(bgp.neighbors.len(), 5);
    let cloud = site.neighbor("oci-2").unwrap();
    assert_eq!(
        (cloud.role, cloud.remote_asn, cloud.local_asn),
        (Role::Cloud, Asn(31_898), None)
    );
    assert_eq!(
        cloud.source,
        Some(UpdateSource::Address(Ipv4Addr::new(10, 2, 0, 0).into()))
    );
    assert_eq!(cloud.max_prefixes_out, Some(2_000));
    let node = site.neighbor("k8s/192.168.200.32").unwrap();
    assert_eq!(
        (node.role, node.remote_asn, node.local_asn),
        (Role::Lan, Asn(65_000), Some(Asn(65_551)))
    );
    assert_eq!(
        (node.import.clone(), node.export.clone()),
        (Policy::PrefixList("k8s-vips".to_owned()), Policy::None)
    );

    let out = &site.prefix_lists["to-oci"];
    assert!(
        out.permits("192.168.2.0/24".parse().unwrap())
            && out.permits("172.24.0.0/24".parse().unwrap())
    );
    for other in [
        "0.0.0.0/0",
        "192.168.2.0/25",
        "192.168.200.0/24",
        "10.1.0.0/31",
    ] {
        assert!(!out.permits(other.parse().unwrap()), "{other}");
    }
    let vips = &site.prefix_lists["k8s-vips"];
    assert!(
        vips.permits("172.16.200.1/32".parse().unwrap())
            && !vips.permits("172.16.200.0/24".parse().unwrap())
    );
}

#[test]
fn the_reference_site_has_its_aliases() {
    let firewall = site("reference-site.toml").firewall;
    let Alias::Networks(peers) = &firewall.aliases["peers"] else {
        panic!("peers are networks")
    };
    assert_eq!(
        peers,
        &[
            "198.51.100.1/32".parse().unwrap(),
            "198.51.100.2/32".parse().unwrap()
        ]
    );
    assert_eq!(firewall.aliases["ike-ports"].to_string(), "[500, 4500]");
    assert_eq!(
        firewall.rules.first().unwrap().destination,
        Networks::Alias("home".to_owned())
    );
}

#[test]
fn a_site_can_be_written_for_machines_without_its_secrets() {
    let text = toml::to_string(&site("reference-site.toml")).unwrap();
    assert!(text.contains("ike-lifetime = \"8h\"") && text.contains("/etc/causeway/oci-1.psk"));
}

#[test]
fn the_effective_reference_site_says_where_each_value_came_from() {
    insta::assert_snapshot!(site("reference-site.toml").explain());
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

fn site(name: &str) -> Site {
    let text = std::fs::read_to_string(folder().join(name)).unwrap();
    load(&Source::new(name, &text), &Unseen).site.unwrap()
}
