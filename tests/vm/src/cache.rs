//! What takes long to make is made once, under a lock, in a folder named for a hash of what it is made of.

use std::fmt::{Display, Formatter};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use lab::OrFail as _;
use nix::fcntl::{Flock, FlockArg};

/// A hash that is the same in every build of the tests (64-bit FNV-1a). Not for secrets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key(u64);

impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Key {
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// The key of what was so far, and these bytes.
    pub(crate) fn and(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        // The length first, so that the borders between parts count.
        for byte in (bytes.len() as u64).to_be_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self
    }
}

/// The folder of all that is kept between runs.
pub(crate) fn root() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
        PathBuf::from,
    );
    let folder = target.join("vm");
    std::fs::create_dir_all(&folder).or_fail(format_args!("create {}", folder.display()));
    folder
        .canonicalize()
        .or_fail(format_args!("find {}", folder.display()))
}

/// The folder `NAME-KEY` in `parent`; when it is not there, `make` fills it, while everybody else waits. Folders of the same
/// name with another key go.
pub(crate) fn folder(parent: &Path, name: &str, key: Key, make: impl FnOnce(&Path)) -> PathBuf {
    let folder = parent.join(format!("{name}-{key}"));
    let _lock = lock(&parent.join(format!("{name}.lock")));
    if folder.is_dir() {
        return folder;
    }
    let stale = format!("{name}-");
    for entry in std::fs::read_dir(parent)
        .or_fail("read the folder of what is kept")
        .flatten()
    {
        if entry.file_name().to_string_lossy().starts_with(&stale) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let unfinished = parent.join(format!("{name}-unfinished"));
    std::fs::create_dir_all(&unfinished).or_fail(format_args!("create {}", unfinished.display()));
    make(&unfinished);
    std::fs::rename(&unfinished, &folder).or_fail(format_args!("name {}", folder.display()));
    folder
}

/// Waits until this process alone holds the lock file; dropping the result gives it back.
fn lock(path: &Path) -> Flock<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path);
    let file = file.or_fail(format_args!("open {}", path.display()));
    match Flock::lock(file, FlockArg::LockExclusive) {
        Ok(lock) => lock,
        Err((_, error)) => panic!("lock {}: {error}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_depends_on_every_byte_and_on_the_borders_between_parts() {
        let of = |parts: &[&str]| parts.iter().fold(Key::new(), |key, part| key.and(part)).0;
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab", "c"]), of(&["ab", "d"]));
    }

    #[test]
    fn a_folder_is_made_once_and_replaces_one_with_another_key() {
        let parent = std::env::temp_dir().join(format!("causeway-vm-cache-{}", std::process::id()));
        std::fs::create_dir_all(&parent).or_fail("create a folder");
        let make = |word: &'static str| {
            move |dir: &Path| std::fs::write(dir.join("word"), word).or_fail("write")
        };
        let first = folder(&parent, "thing", Key::new().and("1"), make("one"));
        let again = folder(&parent, "thing", Key::new().and("1"), |_| {
            panic!("it is there")
        });
        assert_eq!(first, again);
        let second = folder(&parent, "thing", Key::new().and("2"), make("two"));
        assert!(!first.exists());
        let word = std::fs::read_to_string(second.join("word"));
        std::fs::remove_dir_all(&parent).or_fail("remove the folder");
        assert_eq!(word.or_fail("read"), "two");
    }
}
