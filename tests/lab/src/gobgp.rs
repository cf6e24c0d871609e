//! GoBGP as a peer: what a Kubernetes node with Cilium's BGP control plane speaks.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use crate::bgp::{Router, Speaker};
use crate::daemon::{Daemon, Program};
use crate::netns::Ns;
use crate::wait::{OrFail, eventually_true};

const START_LIMIT: Duration = Duration::from_secs(10);

/// A running GoBGP. It touches no kernel route.
#[derive(Debug)]
pub struct GoBgp {
    daemon: Daemon,
}

impl GoBgp {
    /// Starts GoBGP in a namespace, announcing the speaker's networks.
    #[track_caller]
    #[must_use]
    pub fn start(ns: &Ns, speaker: &Speaker) -> Self {
        crate::tools::require(&["gobgpd", "gobgp"]);
        let config = ns.dir().join("gobgpd.toml");
        std::fs::write(&config, render(speaker)).or_fail("write gobgpd.toml");
        let config = config.display().to_string();
        let mut argv = vec!["gobgpd", "-f", &config, "--api-hosts", "127.0.0.1:50051"];
        if speaker.graceful {
            argv.push("-r");
        }
        let gobgp = Self {
            daemon: Daemon::start(ns, "gobgpd", Program::new(&argv)),
        };
        gobgp.originate(&speaker.networks);
        gobgp
    }

    #[track_caller]
    fn originate(&self, networks: &[String]) {
        let name = self.daemon.ns().name();
        eventually_true(START_LIMIT, format_args!("GoBGP in {name} answers"), || {
            self.try_run("global")
                .is_some_and(|text| text.contains("AS:"))
        });
        for network in networks {
            self.announce(network);
        }
    }

    /// Starts it again after [`GoBgp::kill`], announcing these networks.
    #[track_caller]
    pub fn restart(&mut self, networks: &[String]) {
        self.daemon.restart();
        self.originate(networks);
    }

    fn try_run(&self, command: &str) -> Option<String> {
        let mut argv = vec!["gobgp"];
        argv.extend(command.split_whitespace());
        let finished = self.daemon.ns().try_exec(&argv);
        finished.ok().then_some(finished.stdout)
    }

    /// Runs one command of GoBGP's.
    ///
    /// # Panics
    /// When gobgp refuses.
    #[track_caller]
    pub fn run(&self, command: &str) -> String {
        self.try_run(command)
            .or_fail(format_args!("gobgp {command}"))
    }

    /// Announces a prefix, itself being the next hop.
    #[track_caller]
    pub fn announce(&self, prefix: &str) {
        self.run(&format!("global rib add {prefix} -a ipv4"));
    }

    /// Withdraws a prefix.
    #[track_caller]
    pub fn withdraw(&self, prefix: &str) {
        self.run(&format!("global rib del {prefix} -a ipv4"));
    }

    /// Ends it without a word to its peers.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Ends it as an operator would: it tells its peers.
    #[track_caller]
    pub fn stop(&mut self) {
        self.daemon.stop();
    }

    /// The process.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    fn json(&self, command: &str) -> Value {
        let text = self.try_run(&format!("-j {command}")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }
}

impl Router for GoBgp {
    fn established(&self, neighbor: &str) -> bool {
        // 6 is ESTABLISHED in GoBGP's API (PeerState.SessionState).
        self.json(&format!("neighbor {neighbor}"))["state"]["session_state"] == 6
    }

    fn received(&self, neighbor: &str) -> BTreeSet<String> {
        let table = self.json(&format!("neighbor {neighbor} adj-in -a ipv4"));
        let prefixes = table.as_object().into_iter().flatten();
        prefixes.map(|(prefix, _)| prefix.clone()).collect()
    }

    fn as_path(&self, prefix: &str) -> Option<Vec<u32>> {
        let table = self.json(&format!("global rib {prefix} -a ipv4"));
        let attributes = table[prefix][0]["attrs"].as_array()?.clone();
        // 2 is AS_PATH (RFC 4271 section 5.1.2).
        let path = attributes.iter().find(|attribute| attribute["type"] == 2)?;
        let numbers = path["as_paths"][0]["asns"].as_array()?;
        let numbers = numbers.iter().filter_map(Value::as_u64);
        Some(numbers.filter_map(|asn| u32::try_from(asn).ok()).collect())
    }

    fn describe(&self, neighbor: &str) -> String {
        self.try_run(&format!("neighbor {neighbor}"))
            .unwrap_or_default()
    }
}

fn render(speaker: &Speaker) -> String {
    let mut out = format!(
        "[global.config]\nas = {}\nrouter-id = \"{}\"\n",
        speaker.asn, speaker.router_id
    );
    for neighbor in &speaker.neighbors {
        let _ = write!(
            out,
            "\n[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = {}\n\
             auth-password = \"{}\"\n[neighbors.transport.config]\npassive-mode = {}\n",
            neighbor.address, neighbor.asn, neighbor.password, neighbor.passive
        );
        if !neighbor.local.is_empty() {
            let _ = writeln!(out, "local-address = \"{}\"", neighbor.local);
        }
        if neighbor.ttl_security {
            out.push_str("[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255\n");
        }
        if speaker.graceful {
            out.push_str(
                "[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = 60\ndeferral-time = 30\n",
            );
        }
        let _ = write!(
            out,
            "[neighbors.timers.config]\nconnect-retry = 1\nhold-time = {}\nkeepalive-interval = {}\n\
             [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\"\n",
            neighbor.hold,
            neighbor.keepalive()
        );
        if speaker.graceful {
            out.push_str("[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n");
        }
    }
    out
}
