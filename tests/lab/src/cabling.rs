//! Many namespaces made at once: one process of `ip` makes all cables, and one for each namespace does the rest in it. Each
//! process costs an emulated machine half a tenth of a second, so that a site made piece by piece would take several.

use std::fmt::Write as _;

use crate::netns::{Net, Ns};

/// What is to be made: namespaces exist at once, the rest with [`Cabling::lay`].
#[derive(Debug)]
pub(crate) struct Cabling<'a> {
    net: &'a Net,
    cables: String,
    inside: Vec<(Ns, String)>,
}

impl<'a> Cabling<'a> {
    pub(crate) fn new(net: &'a Net) -> Self {
        Self {
            net,
            cables: String::new(),
            inside: Vec::new(),
        }
    }

    /// A namespace as [`Net::ns`] makes it.
    pub(crate) fn ns(&mut self, name: &str) -> Ns {
        let ns = self.net.ns_with_nothing_up(name);
        self.inside
            .push((ns.clone(), "link set lo up\n".to_owned()));
        ns
    }

    /// A line for `ip -batch` in a namespace, after those before.
    pub(crate) fn line(&mut self, ns: &Ns, line: &str) {
        let of = |(other, _): &&mut (Ns, String)| other.tid() == ns.tid();
        if let Some((_, lines)) = self.inside.iter_mut().find(of) {
            lines.push_str(line);
            lines.push('\n');
        } else {
            self.inside.push((ns.clone(), format!("{line}\n")));
        }
    }

    /// As [`Net::veth`].
    pub(crate) fn veth(&mut self, a: (&Ns, &str, &str), b: (&Ns, &str, &str)) {
        let _ = writeln!(
            self.cables,
            "link add {} netns {} type veth peer name {} netns {}",
            a.1,
            a.0.tid(),
            b.1,
            b.0.tid()
        );
        for (ns, link, address) in [a, b] {
            if !address.is_empty() {
                self.line(ns, &format!("addr add {address} dev {link}"));
            }
            self.line(ns, &format!("link set {link} up"));
        }
    }

    /// As [`Ns::route`].
    pub(crate) fn route(&mut self, ns: &Ns, words: &str) {
        self.line(ns, &format!("route add {words}"));
    }

    /// A bridge of these interfaces, with an address or none (`""`).
    pub(crate) fn bridge(&mut self, ns: &Ns, name: &str, address: &str, ports: &[&str]) {
        self.line(ns, &format!("link add {name} type bridge"));
        for port in ports {
            self.line(ns, &format!("link set {port} master {name}"));
        }
        if !address.is_empty() {
            self.line(ns, &format!("addr add {address} dev {name}"));
        }
        self.line(ns, &format!("link set {name} up"));
    }

    /// Makes all of it.
    #[track_caller]
    pub(crate) fn lay(self) {
        // From a namespace that has no links: the kernel refuses a name that there is where the command runs.
        self.net.ns_with_nothing_up("cables").ip(&self.cables);
        for (ns, lines) in self.inside {
            ns.ip(&lines);
        }
    }
}
