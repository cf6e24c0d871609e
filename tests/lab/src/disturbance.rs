//! Loss and blocks on a path, by nftables rules of their own table; delay by netem; lifted when dropped.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::netns::Ns;
use crate::wait::OrFail as _;

/// Where in a namespace a disturbance acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// What is for the namespace itself.
    Input,
    /// What the namespace forwards.
    Forward,
    /// What the namespace itself sends.
    Output,
}

/// A rule that drops packets for as long as this value lives.
#[derive(Debug)]
pub struct Disturbance {
    ns: Ns,
    table: String,
}

impl Disturbance {
    /// Drops every packet that matches (`"udp dport 4500"`, `"ip saddr 198.51.100.1"`, or `""` for all).
    #[track_caller]
    #[must_use]
    pub fn block(ns: &Ns, hook: Hook, matches: &str) -> Self {
        Self::apply(ns, hook, matches)
    }

    /// Drops a random part of the packets that match.
    #[track_caller]
    #[must_use]
    pub fn lose(ns: &Ns, hook: Hook, matches: &str, percent: u8) -> Self {
        Self::apply(
            ns,
            hook,
            &format!("{matches} numgen random mod 100 < {percent}"),
        )
    }

    #[track_caller]
    fn apply(ns: &Ns, hook: Hook, matches: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let table = format!("disturbance{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let hook = match hook {
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
        };
        ns.nft(&format!(
            "table inet {table} {{\n chain c {{\n  type filter hook {hook} priority -300; policy accept;\n  \
             {matches} counter drop\n }}\n}}\n"
        ));
        Self {
            ns: ns.clone(),
            table,
        }
    }

    /// How many packets it has dropped.
    #[track_caller]
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let listing = self.ns.exec(&["nft", "list", "table", "inet", &self.table]);
        let mut words = listing
            .split_whitespace()
            .skip_while(|word| *word != "packets");
        words
            .nth(1)
            .and_then(|count| count.parse().ok())
            .unwrap_or_default()
    }
}

impl Drop for Disturbance {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = self
                .ns
                .try_exec(&["nft", "delete", "table", "inet", &self.table]);
        }
    }
}

/// Delay, jitter, loss, duplicates and reordering of what leaves by one interface (`tc netem`), for as long as this value
/// lives. Only a kernel with netem has it: the virtual machine's.
#[derive(Debug)]
pub struct Netem {
    ns: Ns,
    interface: String,
}

impl Netem {
    /// Puts netem on an interface, with what it shall do in its own words: `"delay 30ms 5ms loss 1%"`.
    #[track_caller]
    #[must_use]
    pub fn on(ns: &Ns, interface: &str, words: &str) -> Self {
        let mut argv = vec!["tc", "qdisc", "add", "dev", interface, "root", "netem"];
        argv.extend(words.split_whitespace());
        ns.exec(&argv);
        Self {
            ns: ns.clone(),
            interface: interface.to_owned(),
        }
    }

    /// The same for the packets that match alone (`"udp dport 500"`); all others leave as ever.
    #[track_caller]
    #[must_use]
    pub fn on_matching(ns: &Ns, interface: &str, matches: &str, words: &str) -> Self {
        for line in [
            "qdisc add dev DEV root handle 1: prio bands 2 priomap 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
            &format!("qdisc add dev DEV parent 1:2 netem {words}"),
        ] {
            let line = line.replace("DEV", interface);
            let argv: Vec<_> = ["tc"].into_iter().chain(line.split(' ')).collect();
            ns.exec(&argv);
        }
        ns.nft(&format!(
            "table inet netem {{\n chain c {{\n  type filter hook postrouting priority 0; policy accept;\n  \
             oifname \"{interface}\" {matches} meta priority set 1:2\n }}\n}}\n"
        ));
        Self {
            ns: ns.clone(),
            interface: interface.to_owned(),
        }
    }

    /// How many packets it has dropped.
    #[track_caller]
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let said = self
            .ns
            .exec(&["tc", "-s", "-j", "qdisc", "show", "dev", &self.interface]);
        let listed: serde_json::Value =
            serde_json::from_str(&said).or_fail("read what `tc -j` prints");
        listed[0]["drops"].as_u64().unwrap_or_default()
    }
}

impl Drop for Netem {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = self
                .ns
                .try_exec(&["tc", "qdisc", "del", "dev", &self.interface, "root"]);
            let _ = self
                .ns
                .try_exec(&["nft", "delete", "table", "inet", "netem"]);
        }
    }
}
