//! The kernel's settings of each interface that let packets in, or not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::{Host, Outline};

/// Where the kernel keeps them, for the network namespace of who looks.
const FOLDER: &str = "/proc/sys/net/ipv4/conf";

/// `net.ipv4.conf`, by interface; `all` is one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Conf(BTreeMap<String, Values>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Values {
    /// 0 off, 1 strict (RFC 3704 section 2.2), 2 loose.
    rp_filter: u32,
    forwarding: bool,
}

impl Conf {
    /// What cannot be read is as if there were no such interface: one may disappear meanwhile.
    pub(super) fn read() -> Self {
        let entries = fs::read_dir(FOLDER).into_iter().flatten();
        let interfaces = entries.filter_map(Result::ok).filter_map(|entry| {
            let values = Values {
                rp_filter: number(&entry.path().join("rp_filter"))?,
                forwarding: number(&entry.path().join("forwarding"))? != 0,
            };
            Some((entry.file_name().into_string().ok()?, values))
        });
        Self(interfaces.collect())
    }

    fn of(&self, dev: &str) -> Option<Values> {
        self.0.get(dev).copied()
    }

    /// The kernel takes the larger one of `all` and the interface's own.
    fn is_strict(&self, dev: &str) -> Option<&'static str> {
        let all = self.of("all").map_or(0, |values| values.rp_filter);
        let own = self.of(dev)?.rp_filter;
        match (own, all) {
            (1, _) if all != 2 => Some("its own"),
            (0, 1) => Some("net.ipv4.conf.all.rp_filter"),
            _ => None,
        }
    }
}

fn number(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

pub(super) fn judge(site: &Outline, host: Host<'_>, conf: &Conf) -> Vec<String> {
    let mut found = strict(site, host, conf);
    found.extend(strict_tunnels(site, conf));
    found.extend(not_forwarding(site, host, conf));
    found
}

/// Strict reverse path filtering drops what arrives on another interface than the one that answers leave by.
fn strict(site: &Outline, host: Host<'_>, conf: &Conf) -> Vec<String> {
    let paths = host.paths.iter();
    paths
        .filter_map(|(remote, path)| {
            let path = path.as_ref().ok()?;
            let has_source = |(address, _): &&(_, String)| *address == path.source;
            let holder = host.addresses.iter().find(has_source);
            // The peer sends to our address, so its packets come in where that is, unless the site file says where.
            let arrives = site
                .wan
                .as_ref()
                .or(holder.map(|(_, dev)| dev))
                .filter(|dev| **dev != path.interface)?;
            let by = conf.is_strict(arrives)?;
            Some(format!(
                "packets from {remote} come in on {arrives}, the route to it leaves by {}, and reverse path filtering on {arrives} is strict (by {by}), so the kernel drops them: sysctl -w net.ipv4.conf.{arrives}.rp_filter=2, or route {remote} by {arrives}",
                path.interface
            ))
        })
        .collect()
}

/// Clouds answer through another tunnel than the one that was asked through.
fn strict_tunnels(site: &Outline, conf: &Conf) -> Vec<String> {
    let tunnels = site.tunnels.iter();
    tunnels
        .filter(|_| site.tunnels.len() > 1)
        .filter_map(|dev| {
            // Ours to set, and set again at once: only what goes on undoing that is worth a word.
            let by = conf.is_strict(dev)?;
            Some(format!(
                "reverse path filtering on {dev} is strict (by {by}): what a cloud answers through another tunnel than we asked through is dropped; Causeway sets it to 2 (loose), so find what sets it back (/etc/sysctl.d, a script)"
            ))
        })
        .collect()
}

/// Interfaces between which packets have to pass.
fn not_forwarding(site: &Outline, host: Host<'_>, conf: &Conf) -> Vec<String> {
    // Where the host as a whole does not forward, that is being set, and the report of it says why not.
    if conf.of("all").is_none_or(|all| !all.forwarding) {
        return Vec::new();
    }
    let is_ours = |net: &ipnet::IpNet| {
        let mut networks = site.networks.iter();
        networks.any(|ours| ours.contains(net) || net.contains(ours))
    };
    let inside = host.connected.iter().filter(|(net, _)| is_ours(net));
    let devices: BTreeSet<&str> = inside
        .map(|(_, dev)| dev.as_str())
        .chain(site.lan.iter().map(String::as_str))
        .chain(site.tunnels.iter().map(String::as_str))
        .collect();
    devices
        .into_iter()
        .filter(|dev| conf.of(dev).is_some_and(|values| !values.forwarding))
        .map(|dev| {
            format!(
                "forwarding is off on {dev} (net.ipv4.conf.{dev}.forwarding = 0), so what comes in there goes no further: sysctl -w net.ipv4.conf.{dev}.forwarding=1, and see what turns it off (IPv4Forwarding= of systemd-networkd, /etc/sysctl.d)"
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::LocalPath;

    const ON: bool = true;

    fn conf(values: &[(&str, u32, bool)]) -> Conf {
        let values = values.iter().map(|(dev, rp_filter, forwarding)| {
            let values = Values {
                rp_filter: *rp_filter,
                forwarding: *forwarding,
            };
            ((*dev).to_owned(), values)
        });
        Conf(values.collect())
    }

    /// One tunnel to 198.51.100.1 by `out`, with our address on `home`.
    fn said(site: &Outline, out: &str, home: &str, conf: &Conf) -> Vec<String> {
        let path = Ok(LocalPath {
            source: "203.0.113.10".parse().unwrap(),
            interface: out.into(),
            mtu: 1500,
        });
        let paths = [("198.51.100.1".parse().unwrap(), path)].into();
        let host = Host {
            paths: &paths,
            connected: &[
                ("192.168.2.0/24".parse().unwrap(), "lan0".into()),
                ("172.31.0.0/24".parse().unwrap(), "mgmt0".into()),
            ],
            addresses: &[("203.0.113.10".parse().unwrap(), home.into())],
            routed: &[],
        };
        judge(site, host, conf)
    }

    fn site(wan: Option<&str>, tunnels: &[&str]) -> Outline {
        Outline {
            remotes: vec!["198.51.100.1".parse().unwrap()],
            wan: wan.map(str::to_owned),
            tunnels: tunnels.iter().map(|name| (*name).to_owned()).collect(),
            networks: vec!["192.168.2.0/24".parse().unwrap()],
            ..Outline::default()
        }
    }

    #[test]
    fn strict_filtering_is_named_where_it_bites_and_only_there() {
        // wan's value, all's value, way out, our address's interface, in the way
        for (wan0, all, out, home, bites) in [
            (1, 0, "wan0", "wan0", false),
            (1, 0, "wan1", "wan0", true),
            (0, 1, "wan1", "wan0", true),
            (2, 1, "wan1", "wan0", false),
            (1, 2, "wan1", "wan0", false),
            (0, 0, "wan1", "wan0", false),
            (1, 1, "wan1", "wan1", false),
        ] {
            let conf = conf(&[("all", all, ON), ("wan0", wan0, ON), ("wan1", 0, ON)]);
            let found = said(&site(None, &[]), out, home, &conf);
            assert_eq!(
                found.len(),
                usize::from(bites),
                "{wan0} {all} {out} {home}: {found:?}"
            );
            let remedy = "sysctl -w net.ipv4.conf.wan0.rp_filter=2";
            assert!(found.iter().all(|text| text.contains(remedy)), "{found:?}");
        }
    }

    #[test]
    fn the_site_files_word_for_the_wan_counts_more_than_where_an_address_is() {
        let conf = conf(&[("all", 0, ON), ("wan0", 1, ON), ("lo", 0, ON)]);
        assert_eq!(said(&site(Some("wan0"), &[]), "wan0", "lo", &conf).len(), 0);
        assert_eq!(
            said(&site(Some("wan0"), &[]), "wan1", "wan1", &conf).len(),
            1
        );
    }

    #[test]
    fn strict_filtering_on_a_tunnel_matters_where_there_are_two() {
        let conf = conf(&[("all", 0, ON), ("cw-a", 1, ON), ("cw-b", 2, ON)]);
        assert_eq!(said(&site(None, &["cw-a"]), "wan0", "wan0", &conf).len(), 0);
        let found = said(&site(None, &["cw-a", "cw-b"]), "wan0", "wan0", &conf);
        assert!(found.len() == 1 && found[0].contains("cw-a"), "{found:?}");
    }

    #[test]
    fn forwarding_that_is_off_is_named_on_the_interfaces_that_need_it() {
        let conf = conf(&[
            ("all", 0, ON),
            ("lan0", 0, false),
            ("mgmt0", 0, false),
            ("wan0", 0, false),
            ("cw-a", 0, false),
        ]);
        let found = said(&site(None, &["cw-a"]), "wan0", "wan0", &conf);
        assert_eq!(found.len(), 2, "{found:?}");
        for dev in ["cw-a", "lan0"] {
            let remedy = format!("sysctl -w net.ipv4.conf.{dev}.forwarding=1");
            assert!(found.iter().any(|text| text.contains(&remedy)), "{found:?}");
        }
    }

    #[test]
    fn a_host_that_does_not_forward_at_all_is_somebody_elses_finding() {
        let conf = conf(&[("all", 0, false), ("lan0", 0, false)]);
        assert_eq!(
            said(&site(None, &[]), "wan0", "wan0", &conf),
            Vec::<String>::new()
        );
    }

    #[test]
    fn the_settings_of_this_host_can_be_read() {
        let conf = Conf::read();
        assert!(
            conf.of("all").is_some() && conf.of("lo").is_some(),
            "{conf:?}"
        );
    }
}
