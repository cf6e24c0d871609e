//! strongSwan (charon-systemd with swanctl) as a peer, with ESP in its own process (`kernel-libipsec`), because the
//! kernels that tests run on need not have ESP.
//!
//! What was found out about this plugin (5.9.8), and is handled here:
//! - It puts plain packets on one TUN interface, `ipsec0`, and chooses the CHILD_SA by traffic selectors alone. So one
//!   daemon serves one tunnel with selectors 0.0.0.0/0; several need selectors that do not overlap.
//! - `install_routes = no` does not stop it from routing its remote selectors into `ipsec0`, by routing table 220. We put
//!   the rule of that table behind the main one (`routing_table_prio`), so that routes by hand or by BGP decide; a
//!   namespace needs a default route of its own then, or everything unknown goes into the tunnel.
//! - With narrow selectors the inside address must be on an interface before the CHILD_SA, else `TS_UNACCEPTABLE`.
//! - It always encapsulates ESP in UDP: it announces a NAT that is not there (RFC 7296 section 2.23) and goes to
//!   port 4500, as initiator and as responder. Plain protocol 50 is not available.
//! - Debian confines `charon-systemd` and `swanctl` by AppArmor, by their paths, to files in `/etc`. Copies in the test's
//!   folder are not confined.
//! - A restarted daemon makes a new `ipsec0`: the inside addresses are put back.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::daemon::{Daemon, Program};
use crate::netns::{Finished, Ns};
use crate::vici;
use crate::wait::{OrFail, eventually_true};

/// What is loaded into the daemon; the default set of Debian takes several times as long to start.
const PLUGINS: &str = "random nonce openssl aes sha1 sha2 hmac kdf gmp curve25519 gcm chapoly kernel-libipsec \
                       kernel-netlink socket-default vici";

/// Folders that swanctl looks into beside its file, and complains about when they are not there.
const CREDENTIAL_FOLDERS: [&str; 13] = [
    "x509", "x509ca", "x509ocsp", "x509aa", "x509ac", "x509crl", "pubkey", "private", "rsa",
    "ecdsa", "bliss", "pkcs8", "pkcs12",
];

/// strongSwan's own two programs.
const PROGRAMS: [&str; 2] = ["/usr/sbin/charon-systemd", "/usr/sbin/swanctl"];

/// How long the daemon may take to answer after its start, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(10);

/// When strongSwan sets a CHILD_SA up by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartAction {
    /// Only when asked, by us or by the peer.
    #[default]
    None,
    /// As soon as the connection is loaded.
    Start,
}

/// One connection with one child of the same name.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The name of the connection and of its child.
    pub name: String,
    /// Our outer address.
    pub local: String,
    /// The peer's outer address, or `%any`.
    pub remote: String,
    /// Our identity.
    pub local_id: String,
    /// The peer's identity.
    pub remote_id: String,
    /// The pre-shared key.
    pub psk: String,
    /// IKE proposals in strongSwan's words.
    pub ike: String,
    /// ESP proposals in strongSwan's words; with a DH group for PFS.
    pub esp: String,
    /// Our traffic selectors.
    pub local_ts: String,
    /// The peer's traffic selectors.
    pub remote_ts: String,
    /// Seconds after which the IKE_SA is rekeyed; 0 never.
    pub ike_rekey: u32,
    /// Seconds after which the CHILD_SA is rekeyed; 0 never.
    pub child_rekey: u32,
    /// Seconds between liveness checks of a silent peer (RFC 7296 section 2.4); 0 none.
    pub dpd_delay: u32,
    /// When to initiate.
    pub start: StartAction,
    /// The reqid of the child; 0 lets strongSwan choose.
    pub reqid: u32,
    /// More lines for the connection's section.
    pub extra: Vec<String>,
    /// More lines for the child's section.
    pub child_extra: Vec<String>,
}

impl Connection {
    /// The reference site's parameters: pre-shared key, aes256-sha1-modp2048 for IKE, Oracle's aes256gcm16 for ESP with
    /// PFS at rekeys, selectors 0.0.0.0/0, and no rekey of its own within a test.
    #[must_use]
    pub fn new(name: &str, local: &str, remote: &str, psk: &str) -> Self {
        Self {
            name: name.to_owned(),
            local: local.to_owned(),
            remote: remote.to_owned(),
            local_id: local.to_owned(),
            remote_id: remote.to_owned(),
            psk: psk.to_owned(),
            ike: "aes256-sha1-modp2048".to_owned(),
            esp: "aes256gcm16-ecp384-modp2048,aes256gcm16".to_owned(),
            local_ts: "0.0.0.0/0".to_owned(),
            remote_ts: "0.0.0.0/0".to_owned(),
            ike_rekey: 28_800,
            child_rekey: 3600,
            dpd_delay: 0,
            start: StartAction::None,
            reqid: 0,
            extra: Vec::new(),
            child_extra: Vec::new(),
        }
    }

    fn render(&self, out: &mut String) {
        let start = match self.start {
            StartAction::None => "none",
            StartAction::Start => "start",
        };
        let Self {
            name,
            local,
            remote,
            local_id,
            remote_id,
            ..
        } = self;
        let _ = write!(
            out,
            "connections {{\n {name} {{\n  version = 2\n  mobike = no\n  keyingtries = 0\n  local_addrs = {local}\n  \
             remote_addrs = {remote}\n  proposals = {}\n  rekey_time = {}s\n  dpd_delay = {}s\n",
            self.ike, self.ike_rekey, self.dpd_delay
        );
        self.extra.iter().for_each(|line| {
            let _ = writeln!(out, "  {line}");
        });
        let _ = write!(
            out,
            "  local {{\n   auth = psk\n   id = {local_id}\n  }}\n  remote {{\n   auth = psk\n   id = {remote_id}\n  }}\n  \
             children {{\n   {name} {{\n    mode = tunnel\n    local_ts = {}\n    remote_ts = {}\n    \
             esp_proposals = {}\n    rekey_time = {}s\n    start_action = {start}\n    reqid = {}\n    \
             replay_window = 1024\n",
            self.local_ts, self.remote_ts, self.esp, self.child_rekey, self.reqid
        );
        self.child_extra.iter().for_each(|line| {
            let _ = writeln!(out, "    {line}");
        });
        let _ = write!(
            out,
            "   }}\n  }}\n }}\n}}\nsecrets {{\n ike-{name} {{\n  id-1 = {local_id}\n  id-2 = {remote_id}\n  \
             secret = \"{}\"\n }}\n}}\n",
            self.psk
        );
    }
}

/// An IKE_SA as `swanctl --list-sas` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IkeSa {
    /// The connection's name.
    pub name: String,
    /// strongSwan's number for it: another one after a rekey.
    pub unique_id: u32,
    /// `ESTABLISHED`, `CONNECTING`, `REKEYING` …
    pub state: String,
    /// Whether strongSwan was the initiator.
    pub initiator: bool,
    /// The port that strongSwan uses: 4500 after the float.
    pub local_port: u16,
    /// The peer's address, as seen from here.
    pub remote_host: String,
    /// The peer's port, as seen from here.
    pub remote_port: u16,
    /// The peer's identity.
    pub remote_id: String,
    /// Encryption, integrity, PRF and DH group, as strongSwan writes them: `AES_CBC-256/HMAC_SHA1_96/…`.
    pub suite: String,
    /// Its children.
    pub children: Vec<ChildSa>,
}

/// A CHILD_SA as `swanctl --list-sas` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildSa {
    /// The child's name in the configuration.
    pub name: String,
    /// strongSwan's number for it: another one after a rekey.
    pub unique_id: u32,
    /// The reqid.
    pub reqid: u32,
    /// `INSTALLED`, `REKEYING`, `REKEYED` …
    pub state: String,
    /// Whether ESP is encapsulated in UDP.
    pub encap: bool,
    /// The SPI that the peer sends with, hexadecimal.
    pub spi_in: String,
    /// The SPI that strongSwan sends with, hexadecimal.
    pub spi_out: String,
    /// Encryption, integrity and, after a rekey with PFS, the DH group.
    pub suite: String,
    /// Packets received.
    pub packets_in: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// strongSwan's own traffic selectors.
    pub local_ts: Vec<String>,
    /// The peer's traffic selectors.
    pub remote_ts: Vec<String>,
}

/// A running strongSwan.
#[derive(Debug)]
pub struct StrongSwan {
    daemon: Daemon,
    dir: PathBuf,
    connections: Vec<Connection>,
    inside: Vec<String>,
}

impl StrongSwan {
    /// Starts strongSwan in a namespace, with these connections, and these inside addresses (`"10.1.0.1/31"`) on its
    /// `ipsec0`.
    #[track_caller]
    #[must_use]
    pub fn start(ns: &Ns, inside: &[&str], connections: Vec<Connection>) -> Self {
        let dir = ns.dir().join("strongswan");
        for folder in CREDENTIAL_FOLDERS {
            std::fs::create_dir_all(dir.join(folder)).or_fail("create a folder for strongSwan");
        }
        for program in PROGRAMS {
            crate::tools::require(&[program]);
            let copy = dir.join(Path::new(program).file_name().unwrap_or_default());
            std::fs::copy(program, copy).or_fail(format_args!("copy {program}"));
        }
        let settings = dir.join("strongswan.conf");
        let log = ns.dir().join("charon.log");
        let text = format!(
            "charon-systemd {{\n load = {PLUGINS}\n install_routes = no\n install_virtual_ip = no\n \
             routing_table_prio = 40000\n retransmit_timeout = 1.0\n retransmit_base = 1.4\n retransmit_tries = 6\n \
             filelog {{\n  log {{\n   path = {}\n   default = 1\n   ike = 2\n   knl = 1\n   esp = 1\n   \
             time_format = %H:%M:%S\n   flush_line = yes\n  }}\n }}\n plugins {{\n  vici {{\n   \
             socket = unix://{}\n  }}\n }}\n}}\nswanctl {{\n load = random openssl pem pkcs1 x509\n}}\n",
            log.display(),
            dir.join("vici").display()
        );
        std::fs::write(&settings, text).or_fail("write strongswan.conf");
        let program = Program::new(&[&dir.join("charon-systemd").display().to_string()])
            .env("STRONGSWAN_CONF", &settings.display().to_string())
            .own_run();
        let daemon = Daemon::start(ns, "charon-stdio", program);
        let swan = Self {
            daemon,
            dir,
            connections,
            inside: inside.iter().map(ToString::to_string).collect(),
        };
        swan.configure();
        swan
    }

    /// Waits for the daemon, puts the inside addresses on its interface, and loads the connections.
    #[track_caller]
    fn configure(&self) {
        let ns = self.daemon.ns();
        eventually_true(
            START_LIMIT,
            format_args!("strongSwan in {} answers", ns.name()),
            || {
                self.swanctl(&["--stats"]).ok()
                    && ns.try_exec(&["ip", "link", "show", "ipsec0"]).ok()
            },
        );
        for address in &self.inside {
            ns.exec(&["ip", "addr", "replace", address, "dev", "ipsec0"]);
        }
        self.load();
    }

    #[track_caller]
    fn load(&self) {
        let mut text = String::new();
        self.connections.iter().for_each(|c| c.render(&mut text));
        let file = self.dir.join("swanctl.conf");
        std::fs::write(&file, text).or_fail("write swanctl.conf");
        let file = file.display().to_string();
        let loaded = self.swanctl(&["--load-all", "--clear", "--file", &file]);
        assert!(
            loaded.ok(),
            "swanctl --load-all: {}{}",
            loaded.stderr,
            loaded.stdout
        );
    }

    /// Replaces the connections; SAs that exist stay as they are.
    #[track_caller]
    pub fn reload(&mut self, connections: Vec<Connection>) {
        self.connections = connections;
        self.load();
    }

    /// Runs swanctl against this daemon.
    #[track_caller]
    pub fn swanctl(&self, arguments: &[&str]) -> Finished {
        let settings = format!(
            "STRONGSWAN_CONF={}",
            self.dir.join("strongswan.conf").display()
        );
        let uri = format!("unix://{}", self.dir.join("vici").display());
        let program = self.dir.join("swanctl").display().to_string();
        let (command, rest) = arguments.split_first().or_fail("swanctl has a command");
        let mut argv = vec![
            "env",
            settings.as_str(),
            program.as_str(),
            command,
            "--uri",
            uri.as_str(),
        ];
        argv.extend(rest);
        self.daemon.ns().try_exec(&argv)
    }

    /// The IKE_SAs that it has, with their children.
    #[track_caller]
    #[must_use]
    pub fn list_sas(&self) -> Vec<IkeSa> {
        let listed = self.swanctl(&["--list-sas", "--raw"]);
        vici::events(&listed.stdout, "list-sa")
            .iter()
            .map(|(name, sa)| IkeSa::read(name, sa))
            .collect()
    }

    /// The children that carry traffic, of all established IKE_SAs.
    #[track_caller]
    #[must_use]
    pub fn installed(&self) -> Vec<ChildSa> {
        self.list_sas()
            .into_iter()
            .filter(|sa| sa.state == "ESTABLISHED")
            .flat_map(|sa| sa.children)
            .filter(|child| child.state == "INSTALLED")
            .collect()
    }

    /// Sets a child up, and its IKE_SA if there is none; gives what swanctl said.
    #[track_caller]
    pub fn initiate(&self, child: &str) -> Finished {
        self.swanctl(&["--initiate", "--child", child, "--timeout", "10"])
    }

    /// Starts a rekey of a CHILD_SA. swanctl only queues it: watch [`StrongSwan::list_sas`] for another number.
    #[track_caller]
    pub fn rekey_child(&self, child: &str) -> Finished {
        self.swanctl(&["--rekey", "--child", child])
    }

    /// Starts a rekey of an IKE_SA. swanctl only queues it: watch [`StrongSwan::list_sas`] for another number.
    #[track_caller]
    pub fn rekey_ike(&self, ike: &str) -> Finished {
        self.swanctl(&["--rekey", "--ike", ike])
    }

    /// Deletes an IKE_SA with its children, telling the peer.
    #[track_caller]
    pub fn terminate(&self, ike: &str) -> Finished {
        self.swanctl(&["--terminate", "--ike", ike, "--timeout", "10"])
    }

    /// Ends the daemon without a word to its peers.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Ends the daemon without a word if it runs, and starts it again with the same configuration and no SA.
    #[track_caller]
    pub fn restart(&mut self) {
        self.daemon.kill();
        let _ = std::fs::remove_file(self.dir.join("vici"));
        self.daemon.restart();
        self.configure();
    }

    /// What it logged, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        let path = self.daemon.ns().dir().join("charon.log");
        String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
    }

    /// The process.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }
}

fn text(section: &Value, key: &str) -> String {
    section[key].as_str().unwrap_or_default().to_owned()
}

fn number<N: std::str::FromStr + Default>(section: &Value, key: &str) -> N {
    text(section, key).parse().unwrap_or_default()
}

fn texts(section: &Value, key: &str) -> Vec<String> {
    let items = section[key]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    items
        .iter()
        .filter_map(Value::as_str)
        .map(ToOwned::to_owned)
        .collect()
}

/// `AES_CBC-256/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_2048`, without what is absent.
fn suite(section: &Value) -> String {
    let mut parts = Vec::new();
    let (cipher, size) = (text(section, "encr-alg"), text(section, "encr-keysize"));
    parts.push(if size.is_empty() {
        cipher
    } else {
        format!("{cipher}-{size}")
    });
    for key in ["integ-alg", "prf-alg", "dh-group"] {
        parts.push(text(section, key));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("/")
}

impl IkeSa {
    fn read(name: &str, sa: &Value) -> Self {
        let children = sa["child-sas"].as_object();
        Self {
            name: name.to_owned(),
            unique_id: number(sa, "uniqueid"),
            state: text(sa, "state"),
            initiator: text(sa, "initiator") == "yes",
            local_port: number(sa, "local-port"),
            remote_host: text(sa, "remote-host"),
            remote_port: number(sa, "remote-port"),
            remote_id: text(sa, "remote-id"),
            suite: suite(sa),
            children: children
                .into_iter()
                .flatten()
                .map(|(_, child)| ChildSa::read(child))
                .collect(),
        }
    }
}

impl ChildSa {
    fn read(child: &Value) -> Self {
        Self {
            name: text(child, "name"),
            unique_id: number(child, "uniqueid"),
            reqid: number(child, "reqid"),
            state: text(child, "state"),
            encap: text(child, "encap") == "yes",
            spi_in: text(child, "spi-in"),
            spi_out: text(child, "spi-out"),
            suite: suite(child),
            packets_in: number(child, "packets-in"),
            packets_out: number(child, "packets-out"),
            local_ts: texts(child, "local-ts"),
            remote_ts: texts(child, "remote-ts"),
        }
    }
}
