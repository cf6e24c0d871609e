//! BIRD 2 as a peer.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::bgp::{Router, Speaker};
use crate::daemon::{Daemon, Program};
use crate::netns::Ns;
use crate::wait::{OrFail, eventually_true};

const START_LIMIT: Duration = Duration::from_secs(10);

/// A running BIRD.
#[derive(Debug)]
pub struct Bird {
    daemon: Daemon,
    dir: PathBuf,
    speaker: Speaker,
}

impl Bird {
    /// Starts BIRD in a namespace. It puts what it learns by BGP into the kernel (ECMP merged), imports all and exports
    /// what it originates and learns; the prefixes that it originates are not put into the kernel.
    #[track_caller]
    #[must_use]
    pub fn start(ns: &Ns, speaker: &Speaker) -> Self {
        crate::tools::require(&["bird", "birdc"]);
        let dir = ns.dir().join("bird");
        std::fs::create_dir_all(&dir).or_fail("create a folder for BIRD");
        let (config, socket) = (dir.join("bird.conf"), dir.join("bird.ctl"));
        std::fs::write(&config, render(speaker)).or_fail("write bird.conf");
        let (config, socket) = (config.display().to_string(), socket.display().to_string());
        let pid = dir.join("bird.pid").display().to_string();
        let mut argv = vec!["bird", "-f", "-c", &config, "-s", &socket, "-P", &pid];
        if speaker.graceful {
            argv.push("-R");
        }
        let program = Program::new(&argv);
        let bird = Self {
            daemon: Daemon::start(ns, "bird", program.own_run()),
            dir,
            speaker: speaker.clone(),
        };
        eventually_true(
            START_LIMIT,
            format_args!("BIRD in {} answers", ns.name()),
            || bird.try_birdc("show status").is_some(),
        );
        bird
    }

    fn try_birdc(&self, command: &str) -> Option<String> {
        let socket = self.dir.join("bird.ctl").display().to_string();
        let mut argv = vec!["birdc", "-s", socket.as_str()];
        argv.extend(command.split_whitespace());
        let finished = self.daemon.ns().try_exec(&argv);
        finished.ok().then_some(finished.stdout)
    }

    /// Runs one command of BIRD's.
    ///
    /// # Panics
    /// When birdc refuses.
    #[track_caller]
    pub fn birdc(&self, command: &str) -> String {
        self.try_birdc(command)
            .or_fail(format_args!("birdc {command}"))
    }

    /// Gives it another configuration, without a restart.
    #[track_caller]
    pub fn reconfigure(&mut self, speaker: &Speaker) {
        std::fs::write(self.dir.join("bird.conf"), render(speaker)).or_fail("write bird.conf");
        let answer = self.birdc("configure");
        assert!(answer.contains("Reconfig"), "birdc configure: {answer}");
        self.speaker = speaker.clone();
    }

    /// Originates one more prefix.
    #[track_caller]
    pub fn announce(&mut self, prefix: &str) {
        let speaker = self.speaker.clone().network(prefix);
        self.reconfigure(&speaker);
    }

    /// Originates a prefix no longer.
    #[track_caller]
    pub fn withdraw(&mut self, prefix: &str) {
        let mut speaker = self.speaker.clone();
        speaker.networks.retain(|network| network != prefix);
        self.reconfigure(&speaker);
    }

    /// Ends it without a word to its peers.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Ends it without a word if it runs, and starts it again with these parameters.
    #[track_caller]
    pub fn restart_with(&mut self, speaker: &Speaker) {
        std::fs::write(self.dir.join("bird.conf"), render(speaker)).or_fail("write bird.conf");
        self.speaker = speaker.clone();
        self.restart();
    }

    /// Ends it without a word if it runs, and starts it again.
    #[track_caller]
    pub fn restart(&mut self) {
        self.daemon.restart();
        eventually_true(START_LIMIT, "BIRD answers again", || {
            self.try_birdc("show status").is_some()
        });
    }

    /// The process.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }
}

impl Router for Bird {
    fn established(&self, neighbor: &str) -> bool {
        self.describe(neighbor)
            .contains("BGP state:          Established")
    }

    fn received(&self, neighbor: &str) -> BTreeSet<String> {
        let routes = self.birdc(&format!("show route protocol {}", protocol(neighbor)));
        routes
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter(|word| word.contains('/'))
            .map(ToOwned::to_owned)
            .collect()
    }

    fn as_path(&self, prefix: &str) -> Option<Vec<u32>> {
        let routes = self.birdc(&format!("show route for {prefix} primary all"));
        let line = routes
            .lines()
            .find_map(|line| line.trim().strip_prefix("BGP.as_path:"))?;
        Some(
            line.split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect(),
        )
    }

    fn describe(&self, neighbor: &str) -> String {
        let command = format!("show protocols all {}", protocol(neighbor));
        self.try_birdc(&command).unwrap_or_default()
    }
}

/// BIRD's name for the session with a neighbor.
fn protocol(neighbor: &str) -> String {
    format!("n_{}", neighbor.replace(['.', ':'], "_"))
}

fn render(speaker: &Speaker) -> String {
    let mut out = format!(
        "log stderr all;\nrouter id {};\ngraceful restart wait 60;\nprotocol device {{ scan time 1; }}\n",
        speaker.router_id
    );
    for (family, is_ipv6) in [("ipv4", false), ("ipv6", true)] {
        let _ = write!(
            out,
            "protocol kernel {{\n scan time 10;\n merge paths on limit {};\n \
             {family} {{ import none; export where source = RTS_BGP; }};\n}}\nprotocol static {{\n {family};\n",
            speaker.multipath
        );
        for network in speaker
            .networks
            .iter()
            .filter(|it| it.contains(':') == is_ipv6)
        {
            let _ = writeln!(out, " route {network} blackhole;");
        }
        out.push_str("}\n");
    }
    if speaker.neighbors.iter().any(|it| it.bfd.is_some()) {
        out.push_str("protocol bfd {}\n");
    }
    for neighbor in &speaker.neighbors {
        let local = if neighbor.local.is_empty() {
            String::new()
        } else {
            format!("{} ", neighbor.local)
        };
        let passive = if neighbor.passive { "on" } else { "off" };
        let next_hop = if neighbor.asn == speaker.asn {
            "next hop self; "
        } else {
            ""
        };
        let mut options = String::new();
        if speaker.graceful {
            options.push_str(" graceful restart on;\n graceful restart time 60;\n");
        }
        if !neighbor.password.is_empty() {
            let _ = writeln!(options, " password \"{}\";", neighbor.password);
        }
        if neighbor.ttl_security {
            options.push_str(" ttl security on;\n");
        }
        if let Some(interval) = neighbor.bfd {
            let _ = writeln!(
                options,
                " bfd {{ min rx interval {interval} ms; min tx interval {interval} ms; multiplier 3; }};"
            );
            if speaker.graceful {
                // Without it BIRD takes the end of a restarting peer's BFD for the end of its restart.
                options.push_str(" bfd graceful;\n");
            }
        }
        let _ = write!(
            out,
            "protocol bgp {} {{\n debug {{ states, events }};\n local {local}as {};\n neighbor {} as {};\n \
             direct;\n passive {passive};\n hold time {};\n keepalive time {};\n connect retry time 1;\n \
             connect delay time 1;\n error wait time 1,2;\n{options}",
            protocol(&neighbor.address),
            speaker.asn,
            neighbor.address,
            neighbor.asn,
            neighbor.hold,
            neighbor.keepalive()
        );
        let extended = if neighbor.address.contains(':') {
            "extended next hop on; "
        } else {
            ""
        };
        let families = [
            ("ipv4", extended, neighbor.families.has_ipv4()),
            ("ipv6", "", neighbor.families.has_ipv6()),
        ];
        for (family, extended, _) in families.into_iter().filter(|(.., has)| *has) {
            let _ = writeln!(
                out,
                " {family} {{ import all; {next_hop}{extended}export where source ~ [RTS_STATIC, RTS_BGP]; }};"
            );
        }
        out.push_str("}\n");
    }
    out
}
