//! The drive with what the caller wants inside.

use std::fmt::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::OrFail as _;

use crate::cache::{self, Key};
use crate::quote;

/// The drive's size is the same for all payloads, because it is part of the state that a machine goes on from. Only what
/// is written of it takes room.
const SIZE: u64 = 2 << 30;

/// The files and folders of the host that a machine sees, and where.
#[derive(Debug, Clone, Default)]
pub struct Payload {
    entries: Vec<(PathBuf, String)>,
}

impl Payload {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with one more file or folder of the host, at an absolute path in the machine. It is there as a link into a
    /// drive that can't be written to.
    #[must_use]
    pub fn file(mut self, host: impl AsRef<Path>, guest: &str) -> Self {
        self.entries
            .push((host.as_ref().to_owned(), guest.to_owned()));
        self
    }

    /// The drive's image, made first if it is not there for these files as they are now.
    #[track_caller]
    pub(crate) fn drive(&self) -> PathBuf {
        let mut key = Key::new();
        for (host, _) in &self.entries {
            key = key.and(host.as_os_str().as_encoded_bytes());
            for file in files(host) {
                let meta = std::fs::metadata(&file);
                let meta = meta.or_fail(format_args!("look at {}", file.display()));
                key = key
                    .and(file.as_os_str().as_encoded_bytes())
                    .and(meta.len().to_be_bytes())
                    .and(meta.mtime().to_be_bytes())
                    .and(meta.mtime_nsec().to_be_bytes());
            }
        }
        // A name for each set of paths, so that one set's drive does not replace another's.
        let paths = self.entries.iter().fold(Key::new(), |key, (host, _)| {
            key.and(host.as_os_str().as_encoded_bytes())
        });
        let name = format!("payload-{paths}");
        let folder = cache::folder(&cache::root(), &name, key, |dir| self.write(dir));
        folder.join("drive.img")
    }

    #[track_caller]
    fn write(&self, dir: &Path) {
        let tree = dir.join("tree");
        std::fs::create_dir_all(&tree).or_fail("create the payload's folder");
        for (number, (host, _)) in self.entries.iter().enumerate() {
            for file in files(host) {
                let below = file.strip_prefix(host).unwrap_or(Path::new(""));
                let mut place = tree.join(number.to_string());
                if below != Path::new("") {
                    place.push(below);
                }
                copy(&file, &place);
            }
        }
        let drive = dir.join("drive.img");
        let made = Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"])
            .arg(&tree)
            .arg(&drive)
            .arg(format!("{}k", SIZE / 1024))
            .output()
            .or_fail("start mke2fs");
        assert!(
            made.status.success(),
            "make the payload's drive: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        std::fs::remove_dir_all(&tree).or_fail("remove the payload's folder");
    }

    /// The script that makes the machine's paths lead to the drive.
    pub(crate) fn placing(&self) -> String {
        let mut script = "true".to_owned();
        for (number, (_, guest)) in self.entries.iter().enumerate() {
            let folder = Path::new(guest).parent().unwrap_or(Path::new("/"));
            let _ = write!(
                script,
                " && mkdir -p {} && ln -sfn /payload/{number} {}",
                quote(&folder.display().to_string()),
                quote(guest)
            );
        }
        script
    }
}

/// An empty drive, for a machine that is not told yet what it will see.
pub(crate) fn blank(path: &Path) {
    let file = std::fs::File::create(path).and_then(|file| file.set_len(SIZE));
    file.or_fail(format_args!("create {}", path.display()));
}

/// A file, or all files below a folder.
#[track_caller]
fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        assert!(path.exists(), "{} is not there", path.display());
        return vec![path.to_owned()];
    }
    let entries = std::fs::read_dir(path).or_fail(format_args!("read {}", path.display()));
    let mut found: Vec<_> = entries
        .flatten()
        .flat_map(|entry| files(&entry.path()))
        .collect();
    found.sort();
    found
}

/// Copies a file with its mode; a program goes without what only a debugger reads, which is most of it.
#[track_caller]
fn copy(from: &Path, to: &Path) {
    let folder = to.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder).or_fail(format_args!("create {}", folder.display()));
    let mode = std::fs::metadata(from).map_or(0o644, |meta| meta.permissions().mode());
    let is_program =
        mode & 0o111 != 0 && std::fs::read(from).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF"));
    if is_program {
        let strip = Command::new("strip")
            .arg("--strip-debug")
            .arg("-o")
            .arg(to)
            .arg(from)
            .status();
        if strip.is_ok_and(|status| status.success()) {
            return;
        }
    }
    std::fs::copy(from, to).or_fail(format_args!("copy {}", from.display()));
}
