//! The kernel settings that a gateway depends on, and the file that remembers what they were.
//!
//! A setting's original value goes to the state file before the setting is changed, and the file is
//! replaced atomically: so after `kill -9` the next run still knows what to give back. The file
//! belongs into a directory that does not survive a reboot (`/run/causeway`), as do the settings.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use serde::{Serialize, Serializer};

use crate::{host::Error, ifname::IfName};

/// A kernel setting that Causeway may change. The set is closed, so that all of them can be
/// observed without being told which are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sysctl {
    /// `net.ipv4.ip_forward`. First in the order, because a change of it resets others.
    Ipv4Forward,
    /// `net.ipv6.conf.all.forwarding`.
    Ipv6Forward,
    /// `net.ipv4.fib_multipath_hash_policy`: 0 hashes addresses, 1 ports as well.
    Ipv4MultipathHash,
    /// `net.ipv6.fib_multipath_hash_policy`.
    Ipv6MultipathHash,
    /// `net.ipv4.conf.<interface>.rp_filter`: 0 off, 1 strict, 2 loose.
    RpFilter(IfName),
    /// `net.ipv4.conf.<interface>.disable_policy`: 1 skips IPsec policy on input, as a VTI needs.
    DisablePolicy(IfName),
    /// `net.ipv4.conf.<interface>.disable_xfrm`: 1 never encrypts what leaves this way, so a tunnel interface needs 0.
    DisableXfrm(IfName),
    /// `net.ipv4.conf.<interface>.forwarding`: whether packets that came in this way are forwarded.
    Forwarding(IfName),
}

impl Sysctl {
    /// Those of the host as a whole.
    pub const GLOBAL: [Self; 4] = [
        Self::Ipv4Forward,
        Self::Ipv6Forward,
        Self::Ipv4MultipathHash,
        Self::Ipv6MultipathHash,
    ];

    /// Those of one interface.
    pub fn of_interface(dev: IfName) -> [Self; 4] {
        [
            Self::RpFilter(dev),
            Self::DisablePolicy(dev),
            Self::DisableXfrm(dev),
            Self::Forwarding(dev),
        ]
    }

    /// Those that the kernel gives to interfaces that are made from now on.
    pub fn of_new_interfaces() -> [Self; 4] {
        Self::of_interface(IfName::DEFAULT)
    }

    /// The same setting of another interface; a setting of the host as a whole stays what it is.
    pub(crate) fn on(self, dev: IfName) -> Self {
        match self {
            Self::RpFilter(_) => Self::RpFilter(dev),
            Self::DisablePolicy(_) => Self::DisablePolicy(dev),
            Self::DisableXfrm(_) => Self::DisableXfrm(dev),
            Self::Forwarding(_) => Self::Forwarding(dev),
            global => global,
        }
    }

    /// The kernel tells nobody when it is changed, so one has to look.
    pub fn changes_in_silence(&self) -> bool {
        !matches!(
            self,
            Self::Ipv4Forward | Self::Ipv6Forward | Self::RpFilter(_) | Self::Forwarding(_)
        )
    }

    /// The interface whose setting it is.
    pub fn interface(&self) -> Option<IfName> {
        match *self {
            Self::RpFilter(dev)
            | Self::DisablePolicy(dev)
            | Self::DisableXfrm(dev)
            | Self::Forwarding(dev) => Some(dev),
            _ => None,
        }
    }

    /// Its file below `/proc/sys`. An interface's name has no slash, so it is one component.
    pub fn path(&self) -> PathBuf {
        let conf = |dev: &IfName, leaf| format!("net/ipv4/conf/{dev}/{leaf}");
        match self {
            Self::Ipv4Forward => "net/ipv4/ip_forward".into(),
            Self::Ipv6Forward => "net/ipv6/conf/all/forwarding".into(),
            Self::Ipv4MultipathHash => "net/ipv4/fib_multipath_hash_policy".into(),
            Self::Ipv6MultipathHash => "net/ipv6/fib_multipath_hash_policy".into(),
            Self::RpFilter(dev) => conf(dev, "rp_filter").into(),
            Self::DisablePolicy(dev) => conf(dev, "disable_policy").into(),
            Self::DisableXfrm(dev) => conf(dev, "disable_xfrm").into(),
            Self::Forwarding(dev) => conf(dev, "forwarding").into(),
        }
    }

    /// The setting with that file below `/proc/sys`.
    fn from_path(path: &str) -> Option<Self> {
        if let Some(global) = Self::GLOBAL
            .iter()
            .find(|key| key.path() == Path::new(path))
        {
            return Some(*global);
        }
        let (dev, leaf) = path.strip_prefix("net/ipv4/conf/")?.split_once('/')?;
        let dev: IfName = dev.parse().ok()?;
        Self::of_interface(dev)
            .into_iter()
            .find(|key| key.path().file_name().is_some_and(|name| name == leaf))
    }
}

impl fmt::Display for Sysctl {
    /// As `sysctl` wants it: with dots, unless an interface's name has one; then with slashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path();
        let path = path.to_string_lossy();
        match self.interface() {
            Some(dev) if dev.as_str().contains('.') => f.write_str(&path),
            _ => f.write_str(&path.replace('/', ".")),
        }
    }
}

impl Serialize for Sysctl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A setting that we changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Its value before.
    pub original: String,
    /// The value that we gave it. If it has another one now, it is no longer ours to restore.
    pub ours: String,
}

/// The settings below one root, and the state file that goes with them.
#[derive(Clone, Debug)]
pub struct Sysctls {
    root: PathBuf,
    state: PathBuf,
}

impl Sysctls {
    /// `root` is `/proc/sys`, or a directory like it; `state` is the state file, whose directory
    /// is made when it is first needed.
    pub fn new(root: impl Into<PathBuf>, state: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            state: state.into(),
        }
    }

    /// The present value, or `None` if this host has no such setting.
    ///
    /// # Errors
    /// The file is there and can't be read.
    pub fn read(&self, key: Sysctl) -> Result<Option<String>, Error> {
        let path = self.root.join(key.path());
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(Error::file("read", &path, &e)),
        }
    }

    /// The settings that we changed, from the state file; empty if there is none.
    ///
    /// # Errors
    /// The file can't be read. A line that makes no sense is skipped: it restores nothing.
    pub fn saved(&self) -> Result<BTreeMap<Sysctl, Saved>, Error> {
        let text = match fs::read_to_string(&self.state) {
            Ok(text) => text,
            Err(e) if is_absent(&e) => return Ok(BTreeMap::new()),
            Err(e) => return Err(Error::file("read", &self.state, &e)),
        };
        Ok(text.lines().filter_map(parse_line).collect())
    }

    /// Writes the original to the state file, then changes the setting.
    ///
    /// # Errors
    /// A file can't be written; the setting is unchanged then.
    pub fn set(&self, key: Sysctl, from: &str, to: &str) -> Result<(), Error> {
        let mut saved = self.saved()?;
        let entry = saved.entry(key).or_insert_with(|| Saved {
            original: from.to_owned(),
            ours: String::new(),
        });
        to.clone_into(&mut entry.ours);
        self.store(&saved)?;
        self.write(key, to)
    }

    /// Gives the setting the value `to` and forgets it. One that is gone is only forgotten.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn restore(&self, key: Sysctl, to: &str) -> Result<(), Error> {
        if self.read(key)?.is_some() {
            self.write(key, to)?;
        }
        self.forget(key)
    }

    /// Takes the setting out of the state file.
    ///
    /// # Errors
    /// The state file can't be written.
    pub fn forget(&self, key: Sysctl) -> Result<(), Error> {
        let mut saved = self.saved()?;
        saved.remove(&key);
        self.store(&saved)
    }

    fn write(&self, key: Sysctl, value: &str) -> Result<(), Error> {
        let path = self.root.join(key.path());
        // Not `fs::write`: it would create the file in a root that only looks like /proc/sys.
        let file = fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&path);
        file.and_then(|mut file| file.write_all(value.as_bytes()))
            .map_err(|e| Error::file("write", &path, &e))
    }

    fn store(&self, saved: &BTreeMap<Sysctl, Saved>) -> Result<(), Error> {
        if saved.is_empty() {
            return match fs::remove_file(&self.state) {
                Err(e) if !is_absent(&e) => Err(Error::file("delete", &self.state, &e)),
                _ => Ok(()),
            };
        }
        let mut text = String::from(HEADER);
        for (key, Saved { original, ours }) in saved {
            text += &format!("{}\t{original}\t{ours}\n", key.path().display());
        }
        let new = self.state.with_extension("new");
        self.replace_state(&new, text.as_bytes())
            .map_err(|e| Error::file("write", &new, &e))
    }

    fn replace_state(&self, new: &Path, text: &[u8]) -> io::Result<()> {
        if let Some(directory) = self.state.parent() {
            fs::create_dir_all(directory)?;
        }
        let mut file = fs::File::create(new)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(new, &self.state)
    }
}

const HEADER: &str = "# Settings that Causeway changed: file below /proc/sys, original, ours.\n";

fn parse_line(line: &str) -> Option<(Sysctl, Saved)> {
    let mut fields = line.split('\t');
    let key = Sysctl::from_path(fields.next()?)?;
    let original = fields.next()?.to_owned();
    let ours = fields.next()?.to_owned();
    Some((key, Saved { original, ours }))
}

/// A path can be absent because its last part is, or because its parent is not a directory.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that looks like /proc/sys, with a state file beside it.
    struct Fake {
        directory: PathBuf,
        sysctls: Sysctls,
    }

    impl Fake {
        fn new(test: &str, settings: &[(Sysctl, &str)]) -> Self {
            let name = format!("causeway-sysctl-{test}-{}", std::process::id());
            let directory = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&directory);
            let root = directory.join("sys");
            for (key, value) in settings {
                let path = root.join(key.path());
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, format!("{value}\n")).unwrap();
            }
            let sysctls = Sysctls::new(root, directory.join("run/saved"));
            Self { directory, sysctls }
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }

    fn rp_filter(dev: &str) -> Sysctl {
        Sysctl::RpFilter(dev.parse().unwrap())
    }

    #[test]
    fn the_first_original_is_kept_and_given_back_by_another_run() {
        let key = Sysctl::Ipv4Forward;
        let fake = Fake::new("original", &[(key, "0"), (rp_filter("eth0.100"), "1")]);
        fake.sysctls.set(key, "0", "1").unwrap();
        fake.sysctls.set(key, "1", "2").unwrap();
        fake.sysctls.set(rp_filter("eth0.100"), "1", "2").unwrap();

        let later = fake.sysctls.clone();
        let saved = later.saved().unwrap();
        assert_eq!(
            saved[&key],
            Saved {
                original: "0".into(),
                ours: "2".into()
            }
        );
        assert_eq!(saved[&rp_filter("eth0.100")].original, "1");
        later.restore(key, "0").unwrap();
        assert_eq!(later.read(key).unwrap().unwrap(), "0");
        later.forget(rp_filter("eth0.100")).unwrap();
        assert!(!fake.directory.join("run/saved").exists());
    }

    #[test]
    fn a_setting_that_does_not_exist_is_neither_read_nor_made() {
        let fake = Fake::new("absent", &[(Sysctl::Ipv4Forward, "0")]);
        let key = rp_filter("tun1");
        assert_eq!(fake.sysctls.read(key).unwrap(), None);
        let error = fake.sysctls.set(key, "0", "2").unwrap_err().to_string();
        assert!(error.starts_with("cannot write ") && error.contains("tun1/rp_filter: ENOENT"));
        assert_eq!(fake.sysctls.read(key).unwrap(), None);
        fake.sysctls.restore(key, "0").unwrap();
        assert_eq!(fake.sysctls.saved().unwrap(), BTreeMap::new());
    }

    #[test]
    fn a_damaged_state_file_loses_only_the_damaged_lines() {
        let fake = Fake::new("damaged", &[(Sysctl::Ipv4Forward, "1")]);
        fs::create_dir_all(fake.directory.join("run")).unwrap();
        let text = "net/ipv4/ip_forward\t0\t1\nnet/ipv4/../../etc/passwd\t0\t1\nnet/ipv4/conf/t/rp_filter\t0\n\n\t\t";
        fs::write(fake.directory.join("run/saved"), text).unwrap();
        let saved = fake.sysctls.saved().unwrap();
        assert_eq!(saved.into_keys().collect::<Vec<_>>(), [Sysctl::Ipv4Forward]);
    }

    #[test]
    fn settings_print_as_the_command_wants_them() {
        assert_eq!(
            rp_filter("tun1").to_string(),
            "net.ipv4.conf.tun1.rp_filter"
        );
        assert_eq!(
            rp_filter("eth0.100").to_string(),
            "net/ipv4/conf/eth0.100/rp_filter"
        );
        assert_eq!(Sysctl::Ipv4Forward.to_string(), "net.ipv4.ip_forward");
        for key in Sysctl::GLOBAL
            .into_iter()
            .chain(Sysctl::of_interface("a.b".parse().unwrap()))
        {
            assert_eq!(Sysctl::from_path(key.path().to_str().unwrap()), Some(key));
        }
    }
}
