//! FRR's zebra and bgpd, and bfdd where a neighbor has BFD, as a peer, each started directly with files and sockets in the test's own folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::bgp::{Exchanged, Neighbor, Router, Speaker};
use crate::daemon::{Daemon, Program};
use crate::netns::Ns;
use crate::vty::Vty;
use crate::wait::{OrFail, eventually_true};

const START_LIMIT: Duration = Duration::from_secs(10);

/// A running FRR.
#[derive(Debug)]
pub struct Frr {
    bgpd: Daemon,
    bfdd: Option<Daemon>,
    zebra: Daemon,
    dir: PathBuf,
    /// What is exchanged with each neighbor.
    families: BTreeMap<String, Exchanged>,
}

impl Frr {
    /// Starts zebra and bgpd in a namespace. Sessions need no policy (`no bgp ebgp-requires-policy`), originated prefixes
    /// need no route, and inbound soft reconfiguration is on, so that what was received can be seen.
    #[track_caller]
    #[must_use]
    pub fn start(ns: &Ns, speaker: &Speaker) -> Self {
        crate::tools::require(&["/usr/lib/frr/zebra", "/usr/lib/frr/bgpd"]);
        let dir = ns.dir().join("frr");
        std::fs::create_dir_all(&dir).or_fail("create a folder for FRR");
        let group_file = write_group_file(&dir);
        let log = |name: &str| dir.join(format!("{name}.log")).display().to_string();
        let zebra = format!(
            "log file {} informational\nip nht resolve-via-default\n",
            log("zebra")
        );
        std::fs::write(dir.join("zebra.conf"), zebra).or_fail("write zebra.conf");
        write_bgpd(&dir, speaker);
        let start = |name: &str, extra: &[&str]| {
            let file = |suffix: &str| dir.join(format!("{name}.{suffix}")).display().to_string();
            let (program, config, pid) =
                (format!("/usr/lib/frr/{name}"), file("conf"), file("pid"));
            let (zserv, vty) = (
                dir.join("zserv.api").display().to_string(),
                dir.display().to_string(),
            );
            let mut argv = vec![program.as_str(), "-f", &config, "-i", &pid, "-z", &zserv];
            argv.extend(["--vty_socket", &vty, "-P", "0", "-u", "root", "-g", "root"]);
            argv.extend(extra);
            Daemon::start(
                ns,
                &format!("{name}-stdio"),
                Program::new(&argv)
                    .own_run()
                    .file(&group_file, "/etc/group"),
            )
        };
        let zebra = start("zebra", &[]);
        eventually_true(START_LIMIT, "zebra listens", || {
            dir.join("zserv.api").exists()
        });
        let bfdd = write_bfdd(&dir, speaker).then(|| {
            crate::tools::require(&["/usr/lib/frr/bfdd"]);
            let socket = dir.join("bfdd.sock").display().to_string();
            start("bfdd", &["--bfdctl", &socket])
        });
        let bgpd = start("bgpd", &[]);
        let frr = Self {
            bgpd,
            bfdd,
            zebra,
            dir,
            families: speaker
                .neighbors
                .iter()
                .map(|it| (it.address.clone(), it.families))
                .collect(),
        };
        eventually_true(START_LIMIT, "FRR answers", || {
            frr.try_vty("bgpd", &["show bgp summary json"]).is_ok()
                && (frr.bfdd.is_none() || frr.try_vty("bfdd", &[]).is_ok())
        });
        frr
    }

    fn try_vty(&self, daemon: &str, commands: &[&str]) -> std::io::Result<String> {
        let mut vty = Vty::open(&self.dir.join(format!("{daemon}.vty")))?;
        let mut said = String::new();
        for command in commands {
            said += &vty.command(command)?;
        }
        Ok(said)
    }

    /// Runs commands in one session with bgpd.
    ///
    /// # Panics
    /// When it refuses one.
    #[track_caller]
    pub fn vty(&self, commands: &[&str]) -> String {
        self.tell("bgpd", commands)
    }

    #[track_caller]
    fn tell(&self, daemon: &str, commands: &[&str]) -> String {
        self.try_vty(daemon, commands)
            .or_fail(format_args!("tell {daemon} {commands:?}"))
    }

    /// The answer of one of bgpd's `show … json` commands.
    #[track_caller]
    #[must_use]
    pub fn json(&self, command: &str) -> Value {
        self.ask("bgpd", command)
    }

    #[track_caller]
    fn ask(&self, daemon: &str, command: &str) -> Value {
        let text = self.tell(daemon, &[command]);
        serde_json::from_str(&text).or_fail(format_args!("read the answer to `{command}`: {text}"))
    }

    /// The families of a session.
    fn families(&self, neighbor: &str) -> Vec<&'static str> {
        let families = self.families.get(neighbor).copied();
        let families = families.unwrap_or(Exchanged::Ipv4);
        let ipv4 = families.has_ipv4().then_some("ipv4");
        let ipv6 = families.has_ipv6().then_some("ipv6");
        ipv4.into_iter().chain(ipv6).collect()
    }

    fn summary(&self, family: &str) -> Value {
        self.json(&format!("show bgp {family} unicast summary json"))
    }

    /// Originates one more prefix.
    #[track_caller]
    pub fn announce(&self, asn: u32, prefix: &str) {
        self.edit(asn, &format!("network {prefix}"));
    }

    /// Originates a prefix no longer.
    #[track_caller]
    pub fn withdraw(&self, asn: u32, prefix: &str) {
        self.edit(asn, &format!("no network {prefix}"));
    }

    #[track_caller]
    fn edit(&self, asn: u32, line: &str) {
        let router = format!("router bgp {asn}");
        self.vty(&[
            "configure terminal",
            &router,
            if line.contains(':') {
                "address-family ipv6 unicast"
            } else {
                "address-family ipv4 unicast"
            },
            line,
        ]);
    }

    /// Ends all its programs without a word to their peers.
    pub fn kill(&mut self) {
        self.bgpd.kill();
        if let Some(bfdd) = &mut self.bfdd {
            bfdd.kill();
        }
        self.zebra.kill();
    }

    /// Ends bgpd without a word to its peers; zebra and the kernel's routes live on.
    pub fn kill_bgpd(&mut self) {
        self.bgpd.kill();
    }

    /// Starts bgpd again after [`Frr::kill_bgpd`], with these parameters.
    #[track_caller]
    pub fn restart_bgpd(&mut self, speaker: &Speaker) {
        write_bgpd(&self.dir, speaker);
        self.bgpd.restart();
        eventually_true(START_LIMIT, "FRR answers again", || {
            self.try_vty("bgpd", &["show bgp summary json"]).is_ok()
        });
    }

    /// Gives BFD with neighbors of this interval other lines, without a restart: `transmit-interval 500`, `shutdown`.
    #[track_caller]
    pub fn edit_bfd(&self, interval: u32, lines: &[&str]) {
        let profile = format!("profile {}", bfd_profile(interval));
        let mut commands = vec!["configure terminal", "bfd", &profile];
        commands.extend(lines);
        self.tell("bfdd", &commands);
    }

    /// BFD with a neighbor as FRR sees it; `null` where there is none.
    #[track_caller]
    #[must_use]
    pub fn bfd(&self, neighbor: &str) -> Value {
        let peers = self.ask("bfdd", "show bfd peers json");
        let mut peers = peers.as_array().into_iter().flatten();
        let peer = peers.find(|peer| peer["peer"] == neighbor);
        peer.cloned().unwrap_or_default()
    }

    /// The bgpd process.
    #[must_use]
    pub fn bgpd(&self) -> &Daemon {
        &self.bgpd
    }

    /// The zebra process.
    #[must_use]
    pub fn zebra(&self) -> &Daemon {
        &self.zebra
    }
}

impl Router for Frr {
    fn established(&self, neighbor: &str) -> bool {
        self.families(neighbor)
            .iter()
            .any(|family| self.summary(family)["peers"][neighbor]["state"] == "Established")
    }

    fn received(&self, neighbor: &str) -> BTreeSet<String> {
        let mut received = BTreeSet::new();
        for family in self.families(neighbor) {
            let table = self.json(&format!(
                "show bgp {family} unicast neighbors {neighbor} received-routes json"
            ));
            let routes = table["receivedRoutes"].as_object();
            received.extend(
                routes
                    .into_iter()
                    .flatten()
                    .map(|(prefix, _)| prefix.clone()),
            );
        }
        received
    }

    fn as_path(&self, prefix: &str) -> Option<Vec<u32>> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let table = self.json(&format!("show bgp {family} unicast {prefix} json"));
        let paths = table["paths"].as_array()?;
        let best = paths
            .iter()
            .find(|path| path["bestpath"]["overall"] == true)?;
        let path = best["aspath"]["string"].as_str()?;
        Some(
            path.split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect(),
        )
    }

    fn describe(&self, neighbor: &str) -> String {
        let commands = [
            "show bgp ipv4 unicast summary",
            &format!("show bgp neighbors {neighbor}"),
        ];
        self.try_vty("bgpd", &commands).unwrap_or_default()
    }
}

/// Writes a copy of `/etc/group` in which root belongs to FRR's group for vtysh, which its daemons demand of their user.
/// They must not become another user: a process that does no longer dies with its parent (`PR_SET_PDEATHSIG`).
#[track_caller]
fn write_group_file(dir: &Path) -> PathBuf {
    let groups = std::fs::read_to_string("/etc/group").or_fail("read /etc/group");
    let with_root = |line: &str| match line.strip_prefix("frrvty:") {
        Some(rest) if rest.ends_with(':') => format!("frrvty:{rest}root\n"),
        Some(rest) => format!("frrvty:{rest},root\n"),
        None => format!("{line}\n"),
    };
    let path = dir.join("group");
    let text: String = groups.lines().map(with_root).collect();
    std::fs::write(&path, text).or_fail("write a group file");
    path
}

fn write_bgpd(dir: &Path, speaker: &Speaker) {
    let log = dir.join("bgpd.log").display().to_string();
    let mut bgpd = format!("log file {log} debugging\n");
    render(speaker, &mut bgpd);
    std::fs::write(dir.join("bgpd.conf"), bgpd).or_fail("write bgpd.conf");
}

/// FRR's name for the timers of BFD with a neighbor.
fn bfd_profile(interval: u32) -> String {
    format!("every-{interval}")
}

/// Writes bfdd's configuration, if a neighbor has BFD.
fn write_bfdd(dir: &Path, speaker: &Speaker) -> bool {
    let intervals: BTreeSet<u32> = speaker.neighbors.iter().filter_map(|it| it.bfd).collect();
    let log = dir.join("bfdd.log").display().to_string();
    let mut bfdd = format!("log file {log} debugging\nbfd\n");
    for interval in &intervals {
        let _ = write!(
            bfdd,
            " profile {}\n  transmit-interval {interval}\n  receive-interval {interval}\n  \
             detect-multiplier 3\n exit\n",
            bfd_profile(*interval)
        );
    }
    bfdd.push_str("exit\n");
    std::fs::write(dir.join("bfdd.conf"), bfdd).or_fail("write bfdd.conf");
    !intervals.is_empty()
}

fn render(speaker: &Speaker, out: &mut String) {
    let _ = write!(
        out,
        "router bgp {}\n bgp router-id {}\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n \
         no bgp network import-check\n",
        speaker.asn, speaker.router_id
    );
    if speaker.graceful {
        out.push_str(
            " bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n bgp graceful-restart restart-time 60\n",
        );
    }
    for neighbor in &speaker.neighbors {
        let address = &neighbor.address;
        let _ = write!(
            out,
            " neighbor {address} remote-as {}\n neighbor {address} timers {} {}\n \
             neighbor {address} timers connect 1\n neighbor {address} advertisement-interval 0\n",
            neighbor.asn,
            neighbor.keepalive(),
            neighbor.hold
        );
        if !neighbor.local.is_empty() {
            let _ = writeln!(out, " neighbor {address} update-source {}", neighbor.local);
        }
        if address.contains(':') && neighbor.families.has_ipv4() {
            let _ = writeln!(out, " neighbor {address} capability extended-nexthop");
        }
        if neighbor.passive {
            let _ = writeln!(out, " neighbor {address} passive");
        }
        if !neighbor.password.is_empty() {
            let _ = writeln!(out, " neighbor {address} password {}", neighbor.password);
        }
        if neighbor.ttl_security {
            let _ = writeln!(out, " neighbor {address} ttl-security hops 1");
        }
        if neighbor.multihop {
            let _ = writeln!(out, " neighbor {address} ebgp-multihop 4");
        }
        if let Some(interval) = neighbor.bfd {
            let profile = bfd_profile(interval);
            let _ = write!(
                out,
                " neighbor {address} bfd\n neighbor {address} bfd profile {profile}\n"
            );
            if speaker.graceful {
                // Without it FRR takes the end of a restarting peer's BFD for the end of its restart.
                let _ = writeln!(out, " neighbor {address} bfd check-control-plane-failure");
            }
        }
    }
    for (family, is_ipv6) in [("ipv4", false), ("ipv6", true)] {
        let has = |neighbor: &&Neighbor| match is_ipv6 {
            false => neighbor.families.has_ipv4(),
            true => neighbor.families.has_ipv6(),
        };
        if is_ipv6 && !speaker.neighbors.iter().any(|it| has(&it)) {
            continue;
        }
        let _ = write!(
            out,
            " address-family {family} unicast\n  maximum-paths {0}\n  maximum-paths ibgp {0}\n",
            speaker.multipath
        );
        for network in speaker
            .networks
            .iter()
            .filter(|it| it.contains(':') == is_ipv6)
        {
            let _ = writeln!(out, "  network {network}");
        }
        for neighbor in speaker.neighbors.iter().filter(has) {
            let address = &neighbor.address;
            let _ = write!(
                out,
                "  neighbor {address} activate\n  neighbor {address} soft-reconfiguration inbound\n"
            );
            if neighbor.asn == speaker.asn {
                let _ = writeln!(out, "  neighbor {address} next-hop-self");
            }
        }
        out.push_str(" exit-address-family\n");
    }
    out.push_str("exit\n");
}
