//! Libreswan (pluto) as a peer: the family of Oracle's own head-ends. It needs a kernel with ESP, so it runs inside the
//! virtual machine only.
//!
//! What was found out about it (4.10), and is handled here:
//! - Its package can't be installed beside strongSwan's; the machine's image has its files. `whack` and `addconn` find a
//!   daemon by its folder, so that several run at once, one in each namespace.
//! - Its `_updown` script makes the VTI, and takes seconds for it on an emulated processor, in which the daemon answers
//!   nobody. The interface is made here instead, and the script is `%disabled`; marks do the rest.
//! - A database of certificates has to be there even where none is used. The image has an empty one, which is copied.
//! - Its ESP proposals name no DH group: as at Oracle's, the child of IKE_AUTH comes up without one, and rekeys use the
//!   group of the IKE_SA (`pfs=yes`), and no other: a public value of another group is INVALID_SYNTAX.
//! - As responder it sends on a new child before its answer has left: what is on the way until the initiator has the keys is lost.
//! - A request that it answers ends the repetition of its own one on the same IKE_SA; a rekey that is put off with
//!   TEMPORARY_FAILURE it does not try again before the lifetime is over.
//! - Of IKE_SAs that crossed it leaves its children with the one whose request it answered first.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::connection::{Connection, StartAction};
use crate::daemon::{Daemon, Program};
use crate::netns::{Finished, Ns};
use crate::sa::{ChildSa, IkeSa};
use crate::strongswan::kernel_link;
use crate::wait::{OrFail, eventually_true};

const PLUTO: &str = "/usr/libexec/ipsec/pluto";
const WHACK: &str = "/usr/libexec/ipsec/whack";
const ADDCONN: &str = "/usr/libexec/ipsec/addconn";
const EMPTY_DATABASE: &str = "/var/lib/ipsec/nss";

/// How long the daemon may take to answer after its start.
const START_LIMIT: Duration = Duration::from_secs(10);

/// The mark that ties its SAs to its VTI.
const MARK: &str = "5";

/// A running Libreswan with one connection.
#[derive(Debug)]
pub struct Libreswan {
    daemon: Daemon,
    dir: PathBuf,
    connection: Connection,
}

impl Libreswan {
    /// Starts Libreswan in a namespace with a connection, and this inside address (`"10.1.0.1/31"`) on its VTI `ipsec0`.
    ///
    /// # Panics
    /// When it is not on this machine: it is in the virtual machine alone.
    #[track_caller]
    #[must_use]
    pub fn start(ns: &Ns, inside: &str, connection: Connection) -> Self {
        assert!(
            Path::new(PLUTO).exists(),
            "{PLUTO} is not on this machine: tests with Libreswan run in the virtual machine (`--test in_vm`)"
        );
        let dir = ns.dir().join("libreswan");
        std::fs::create_dir_all(dir.join("run")).or_fail("create a folder for Libreswan");
        std::fs::create_dir_all(dir.join("nss")).or_fail("create a folder for Libreswan");
        let files =
            std::fs::read_dir(EMPTY_DATABASE).or_fail(format_args!("read {EMPTY_DATABASE}"));
        for file in files.flatten() {
            std::fs::copy(file.path(), dir.join("nss").join(file.file_name()))
                .or_fail("copy Libreswan's database");
        }
        kernel_link(ns, "vti", MARK, &connection);
        ns.exec(&["ip", "addr", "replace", inside, "dev", "ipsec0"]);
        let path = |name: &str| dir.join(name).display().to_string();
        let program = Program::new(&[
            PLUTO,
            "--nofork",
            "--stderrlog",
            "--config",
            &path("ipsec.conf"),
            "--secretsfile",
            &path("ipsec.secrets"),
            "--nssdir",
            &path("nss"),
            "--rundir",
            &path("run"),
        ])
        .own_run();
        let swan = Self {
            dir: dir.clone(),
            connection,
            daemon: {
                std::fs::write(dir.join("ipsec.conf"), "").or_fail("write ipsec.conf");
                std::fs::write(dir.join("ipsec.secrets"), "").or_fail("write ipsec.secrets");
                Daemon::start(ns, "pluto", program)
            },
        };
        swan.configure();
        swan
    }

    /// Waits for the daemon and loads the connection.
    #[track_caller]
    fn configure(&self) {
        let name = self.daemon.ns().name();
        // It answers before it has looked for its addresses, and what it is told to initiate meanwhile it forgets.
        let listens = format!("{}:4500", self.connection.local);
        eventually_true(
            START_LIMIT,
            format_args!("Libreswan in {name} listens on {listens}"),
            || {
                let status = self.whack(&["--status"]);
                status.ok() && status.stdout.contains(&listens)
            },
        );
        self.load();
    }

    #[track_caller]
    fn load(&self) {
        let conf = self.dir.join("ipsec.conf");
        std::fs::write(&conf, render(&self.connection)).or_fail("write ipsec.conf");
        let Connection {
            local_id,
            remote_id,
            psk,
            ..
        } = &self.connection;
        std::fs::write(
            self.dir.join("ipsec.secrets"),
            format!("{local_id} {remote_id} : PSK \"{psk}\"\n"),
        )
        .or_fail("write ipsec.secrets");
        let read = self.whack(&["--rereadsecrets"]);
        assert!(read.ok(), "whack --rereadsecrets: {}", read.stdout);
        let (conf, socket) = (
            conf.display().to_string(),
            self.dir.join("run/pluto.ctl").display().to_string(),
        );
        let name = &self.connection.name;
        let added =
            self.daemon
                .ns()
                .try_exec(&[ADDCONN, "--config", &conf, "--ctlsocket", &socket, name]);
        assert!(
            added.ok() && self.daemon.log().contains(&format!("\"{name}\": added")),
            "addconn {name}: {}{}",
            added.stdout,
            added.stderr
        );
        if self.connection.start == StartAction::Start {
            let _ = self.whack(&["--initiate", "--asynchronous", "--name", name]);
        }
    }

    /// Replaces the connection; its SAs end.
    #[track_caller]
    pub fn reload(&mut self, connection: Connection) {
        self.connection = connection;
        self.load();
    }

    /// Runs whack against this daemon.
    #[track_caller]
    pub fn whack(&self, arguments: &[&str]) -> Finished {
        let run = self.dir.join("run").display().to_string();
        let mut argv = vec![WHACK, "--rundir", &run];
        argv.extend(arguments);
        self.daemon.ns().try_exec(&argv)
    }

    /// The IKE_SAs that it has, with their children.
    #[track_caller]
    #[must_use]
    pub fn list_sas(&self) -> Vec<IkeSa> {
        let status = self.whack(&["--status"]).stdout;
        let kernel = self.daemon.ns().exec(&["ip", "-s", "xfrm", "state"]);
        read_sas(&self.connection, &status, &self.log(), &kernel)
    }

    /// The children that carry traffic, of all established IKE_SAs.
    #[track_caller]
    #[must_use]
    pub fn installed(&self) -> Vec<ChildSa> {
        self.list_sas()
            .into_iter()
            .flat_map(|sa| sa.children)
            .collect()
    }

    /// Sets the child up, and its IKE_SA if there is none; gives what whack said.
    #[track_caller]
    pub fn initiate(&self) -> Finished {
        self.whack(&["--initiate", "--name", &self.connection.name])
    }

    /// Starts a rekey of the CHILD_SA: watch [`Libreswan::list_sas`] for another number.
    #[track_caller]
    pub fn rekey_child(&self) -> Finished {
        self.whack(&[
            "--rekey-ipsec",
            "--asynchronous",
            "--name",
            &self.connection.name,
        ])
    }

    /// Starts a rekey of the IKE_SA: watch [`Libreswan::list_sas`] for another number.
    #[track_caller]
    pub fn rekey_ike(&self) -> Finished {
        self.whack(&[
            "--rekey-ike",
            "--asynchronous",
            "--name",
            &self.connection.name,
        ])
    }

    /// Deletes the IKE_SA with its child, telling the other side.
    #[track_caller]
    pub fn terminate(&self) -> Finished {
        self.whack(&["--terminate", "--name", &self.connection.name])
    }

    /// Ends the daemon without a word to its peers, and its SAs with it.
    #[track_caller]
    pub fn kill(&mut self) {
        self.daemon.kill();
        let ns = self.daemon.ns();
        ns.exec(&["ip", "xfrm", "state", "flush"]);
        ns.exec(&["ip", "xfrm", "policy", "flush"]);
    }

    /// Ends the daemon without a word if it runs, and starts it again with the same connection and no SA.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        for left in ["run/pluto.ctl", "run/pluto.pid"] {
            let _ = std::fs::remove_file(self.dir.join(left));
        }
        self.daemon.restart();
        self.configure();
    }

    /// What it logged, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// The process.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }
}

/// The connection in the words of `ipsec.conf`.
fn render(connection: &Connection) -> String {
    let Connection {
        name,
        local,
        remote,
        local_id,
        remote_id,
        local_ts,
        remote_ts,
        ..
    } = connection;
    let mut text = format!(
        "conn {name}\n    ikev2=insist\n    authby=secret\n    left={local}\n    right={remote}\n    leftid={local_id}\n    \
         rightid={remote_id}\n    leftsubnet={local_ts}\n    rightsubnet={remote_ts}\n    mark={MARK}/0xffffffff\n    \
         leftupdown=%disabled\n    ike={}\n    esp={}\n",
        proposals(&connection.ike, true),
        proposals(&connection.esp, false)
    );
    for (key, seconds) in [
        ("ikelifetime", connection.ike_rekey),
        ("salifetime", connection.child_rekey),
        ("dpddelay", connection.dpd_delay),
    ] {
        if seconds > 0 {
            let _ = writeln!(text, "    {key}={seconds}");
        }
    }
    for line in &connection.extra {
        let _ = writeln!(text, "    {line}");
    }
    text
}

/// strongSwan's `aes256-sha1-modp2048,aes256gcm16` as `aes256-sha1;modp2048,aes_gcm256`; for ESP without DH groups.
fn proposals(text: &str, groups: bool) -> String {
    let mut seen: Vec<String> = Vec::new();
    for proposal in text.split(',') {
        let (mut algorithms, mut dh) = (Vec::new(), Vec::new());
        for word in proposal.trim().split('-') {
            if let Some(bits) = word
                .strip_prefix("aes")
                .and_then(|w| w.strip_suffix("gcm16"))
            {
                algorithms.push(format!("aes_gcm{bits}"));
            } else if word.starts_with("modp") {
                dh.push(word.to_owned());
            } else if let Some(group) = GROUPS.iter().find(|(name, ..)| *name == word) {
                dh.push(group.1.to_ascii_lowercase());
            } else {
                algorithms.push(word.to_owned());
            }
        }
        let mut rendered = algorithms.join("-");
        if groups && !dh.is_empty() {
            rendered = format!("{rendered};{}", dh.join("+"));
        }
        if !seen.contains(&rendered) {
            seen.push(rendered);
        }
    }
    seen.join(",")
}

/// A group as strongSwan's configuration names it, as Libreswan does, and as strongSwan shows it.
const GROUPS: [(&str, &str, &str); 4] = [
    ("ecp256", "DH19", "ECP_256"),
    ("ecp384", "DH20", "ECP_384"),
    ("ecp521", "DH21", "ECP_521"),
    ("curve25519", "DH31", "CURVE_25519"),
];

/// A word of Libreswan's as strongSwan shows it: `AES_CBC_256` as `AES_CBC-256`, `MODP2048` as `MODP_2048`.
fn word(name: &str) -> String {
    if let Some(bits) = name.strip_prefix("MODP") {
        return format!("MODP_{bits}");
    }
    if let Some(group) = GROUPS.iter().find(|group| group.1 == name) {
        return group.2.to_owned();
    }
    match name.rsplit_once('_') {
        Some((cipher, bits)) if cipher.starts_with("AES_") => format!("{cipher}-{bits}"),
        _ => name.to_owned(),
    }
}

/// The value after `key` in a line of the log, up to the next space, brace or the line's end.
fn after<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(key)?;
    rest.split([' ', '}', ';', '@']).next()
}

/// `STATUS` of whack has the SAs, the log their suites, the kernel their counters.
fn read_sas(connection: &Connection, status: &str, log: &str, kernel: &str) -> Vec<IkeSa> {
    let numbered = |line: &str| {
        let (number, rest) = line.strip_prefix("000 #")?.split_once(": \"")?;
        Some((number.parse::<u32>().ok()?, rest.to_owned()))
    };
    let lines: Vec<_> = status.lines().filter_map(numbered).collect();
    let mut sas: Vec<IkeSa> = lines
        .iter()
        .filter(|(_, rest)| rest.contains("STATE_V2_ESTABLISHED_IKE_SA"))
        .map(|(number, _)| ike_sa(connection, *number, log))
        .collect();
    for (number, rest) in &lines {
        if !rest.contains("STATE_V2_ESTABLISHED_CHILD_SA") {
            continue;
        }
        let parent = after(rest, "IKE SA #").and_then(|n| n.parse::<u32>().ok());
        let child = child_sa(connection, *number, log, kernel);
        if let Some(sa) = sas.iter_mut().find(|sa| Some(sa.unique_id) == parent) {
            sa.children.extend(child);
        }
    }
    sas
}

/// The last line of the log about an SA that has `what` in it.
fn last<'a>(log: &'a str, connection: &Connection, number: u32, what: &str) -> Option<&'a str> {
    let about = format!("\"{}\" #{number}:", connection.name);
    log.lines()
        .rfind(|line| line.contains(&about) && line.contains(what))
}

fn ike_sa(connection: &Connection, number: u32, log: &str) -> IkeSa {
    let chosen = last(log, connection, number, "{cipher=").unwrap_or_default();
    let mut suite: Vec<_> = ["cipher=", "integ=", "prf=", "group="]
        .into_iter()
        .filter_map(|key| {
            let value = after(chosen, key).filter(|value| *value != "n/a")?;
            Some(if key == "prf=" {
                format!("PRF_{value}")
            } else {
                word(value)
            })
        })
        .collect();
    suite.retain(|part| !part.is_empty());
    let port = if log.contains("4500 from") || chosen.contains(":4500") {
        4500
    } else {
        500
    };
    IkeSa {
        name: connection.name.clone(),
        unique_id: number,
        state: "ESTABLISHED".to_owned(),
        initiator: last(log, connection, number, "initiator ").is_some(),
        local_port: port,
        remote_host: connection.remote.clone(),
        remote_port: port,
        remote_id: connection.remote_id.clone(),
        suite: suite.join("/"),
        children: Vec::new(),
    }
}

fn child_sa(connection: &Connection, number: u32, log: &str, kernel: &str) -> Option<ChildSa> {
    // … IPsec tunnel [0.0.0.0-255.255.255.255:0-65535 0] -> […] {ESP/ESN=>0x1e5cdad6 <0x7bed258a xfrm=AES_GCM_16_256-NONE …}
    let line = last(log, connection, number, "xfrm=")?;
    let (out, into) = (after(line, "=>0x")?, after(line, " <0x")?);
    let parts = after(line, "xfrm=")?.split('-');
    let suite: Vec<_> = parts.filter(|part| *part != "NONE").map(word).collect();
    let mut ranges = line
        .split('[')
        .skip(1)
        .map(|part| part.split(']').next().unwrap_or_default());
    let mut selector = || match ranges.next() {
        Some("0.0.0.0-255.255.255.255:0-65535 0") => vec!["0.0.0.0/0".to_owned()],
        Some(range) => vec![range.to_owned()],
        None => vec![],
    };
    Some(ChildSa {
        name: connection.name.clone(),
        unique_id: number,
        reqid: 0,
        state: "INSTALLED".to_owned(),
        encap: line.contains("ESPinUDP"),
        spi_in: into.to_owned(),
        spi_out: out.to_owned(),
        suite: suite.join("/"),
        packets_in: packets(kernel, into),
        packets_out: packets(kernel, out),
        local_ts: selector(),
        remote_ts: selector(),
    })
}

/// How many packets an SA of the kernel has had, by its SPI in hexadecimal.
fn packets(kernel: &str, spi: &str) -> u64 {
    let header = format!("spi 0x{:0>8}(", spi);
    let mut lines = kernel.lines().skip_while(|line| !line.contains(&header));
    let count = lines
        .find(|line| line.contains("lifetime current:"))
        .and_then(|_| lines.next()?.split(", ").nth(1)?.split('(').next());
    count
        .and_then(|count| count.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposals_are_said_in_libreswans_words() {
        for (theirs, groups, ours) in [
            ("aes256-sha1-modp2048", true, "aes256-sha1;modp2048"),
            ("aes256-sha384-ecp384", true, "aes256-sha384;dh20"),
            (
                "aes256gcm16-ecp384-modp2048,aes256gcm16",
                false,
                "aes_gcm256",
            ),
            ("aes256-sha1,aes256-sha1-modp2048", false, "aes256-sha1"),
        ] {
            assert_eq!(proposals(theirs, groups), ours);
        }
    }

    #[test]
    fn a_status_with_its_log_is_read() {
        let connection = Connection::new("cpe", "198.51.100.1", "203.0.113.10", "secret");
        let status = "000 #4: \"cpe\":500 STATE_V2_ESTABLISHED_IKE_SA (established IKE SA); REKEY in 27885s; newest; idle;\n\
            000 #3: \"cpe\":500 STATE_V2_ESTABLISHED_CHILD_SA (established Child SA); newest; eroute owner; IKE SA #4; idle;\n\
            000 #3: \"cpe\" esp.cf108923@192.0.2.1 esp.e1e8c05a@192.0.2.2 tun.0@192.0.2.1 Traffic: ESPin=0B ESPout=0B\n";
        let log = "x: \"cpe\" #4: initiator rekeyed IKE SA #1 {cipher=AES_CBC_256 integ=HMAC_SHA1_96 prf=HMAC_SHA1 group=MODP2048}\n\
            x: \"cpe\" #3: initiator rekeyed Child SA #2 using #1; IPsec tunnel [0.0.0.0-255.255.255.255:0-65535 0] -> \
            [0.0.0.0-255.255.255.255:0-65535 0] {ESP/ESN=>0xcf108923 <0xe1e8c05a xfrm=AES_GCM_16_256-NONE-DH20 DPD=passive}\n";
        let kernel = "src 192.0.2.1 dst 192.0.2.2\n\tproto esp spi 0xe1e8c05a(3790127194) reqid 16389\n\tlifetime config:\n\t  limit: soft (INF)(packets), \
            hard (INF)(packets)\n\tlifetime current:\n\t  252(bytes), 3(packets)\n";
        let sas = read_sas(&connection, status, log, kernel);
        assert_eq!(sas.len(), 1);
        assert_eq!(
            sas[0].suite,
            "AES_CBC-256/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_2048"
        );
        assert!(sas[0].initiator);
        assert_eq!(sas[0].children.len(), 1);
        let child = &sas[0].children[0];
        assert_eq!(
            (child.suite.as_str(), child.packets_in),
            ("AES_GCM_16-256/ECP_384", 3)
        );
        assert_eq!(child.local_ts, ["0.0.0.0/0"]);
        assert_eq!(child.unique_id, 3);
    }
}
