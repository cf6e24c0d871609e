//! What a reload may not disturb.

use config::{Source, Unseen};
use crypto::Secret;

use super::{Keys, Plan};

const REST: &str = r#"
[prefix-list]
in = [{ permit = "10.0.0.0/16" }]
out = [{ permit = "192.168.2.0/24" }]
"#;

fn tunnel(name: &str, place: u8, more: &str) -> String {
    format!(
        r#"
[tunnel.{name}]
profile = "oci"
remote = "198.51.100.{place}"
psk = {{ file = "/nowhere" }}
inside = "10.{place}.0.0/31"
{more}
[bgp.neighbor.{name}]
tunnel = "{name}"
import = "in"
export = "out"
"#
    )
}

fn plan(tunnels: &[String]) -> Plan {
    let head = "[gateway]\naddress = \"203.0.113.10\"\nnetworks = [\"192.168.2.0/24\"]\n[bgp]\nasn = 65000\n";
    let text = format!("{head}{}{REST}", tunnels.concat());
    let loaded = config::load(&Source::new("site.toml", &text), &Unseen);
    let site = loaded
        .site
        .unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    let keys: Keys = site
        .tunnels
        .iter()
        .map(|tunnel| (tunnel.name.clone(), Secret::from_slice(b"secret").into()))
        .collect();
    Plan::of(&site, &keys).expect("the plan is made")
}

fn numbers(plan: &Plan) -> Vec<(&str, u32, u32)> {
    plan.tunnels
        .iter()
        .map(|t| (t.name.as_str(), t.spec.id.0, t.connection.id.0))
        .collect()
}

#[test]
fn a_tunnel_written_above_others_takes_a_free_number() {
    let running = plan(&[tunnel("a", 1, ""), tunnel("b", 2, "")]);
    assert_eq!(numbers(&running), [("a", 1, 1), ("b", 2, 2)]);
    let mut wanted = plan(&[tunnel("new", 3, ""), tunnel("a", 1, ""), tunnel("b", 2, "")]);
    wanted.keep_numbers(&running);
    assert_eq!(numbers(&wanted), [("new", 3, 3), ("a", 1, 1), ("b", 2, 2)]);
}

#[test]
fn a_number_that_the_site_file_chooses_wins() {
    let running = plan(&[tunnel("a", 1, ""), tunnel("b", 2, "")]);
    let mut wanted = plan(&[tunnel("a", 1, ""), tunnel("c", 3, "reqid = 1")]);
    wanted.keep_numbers(&running);
    assert_eq!(numbers(&wanted), [("a", 3, 3), ("c", 1, 1)]);
}
