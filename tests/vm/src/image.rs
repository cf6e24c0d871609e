//! The image that the machine boots, made by `guest/build-image.sh`.

use std::path::{Path, PathBuf};
use std::process::Command;

use lab::OrFail as _;

use crate::cache::{self, Key};

/// A finished image.
#[derive(Debug)]
pub(crate) struct Image {
    dir: PathBuf,
}

impl Image {
    /// The image, made first if it is not there.
    #[track_caller]
    pub(crate) fn get() -> Self {
        let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest");
        let mut files: Vec<_> = std::fs::read_dir(&guest)
            .or_fail(format_args!("read {}", guest.display()))
            .flatten()
            .map(|entry| entry.path())
            .collect();
        files.sort();
        // Programs that were built here run inside: the release of the system has to be the same.
        let release = std::fs::read("/etc/os-release").or_fail("read /etc/os-release");
        let key = files.iter().fold(Key::new().and(release), |key, file| {
            let bytes = std::fs::read(file).or_fail(format_args!("read {}", file.display()));
            key.and(file.file_name().unwrap_or_default().as_encoded_bytes())
                .and(bytes)
        });
        let dir = cache::folder(&cache::root(), "image", key, |dir| {
            build(&guest.join("build-image.sh"), dir);
        });
        Self { dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

#[track_caller]
fn build(script: &Path, into: &Path) {
    lab::require(&["mmdebstrap", "mke2fs"]);
    eprintln!("making the virtual machine's image: about a minute, once");
    let output = Command::new(script).arg(into).output();
    let output = output.or_fail(format_args!("start {}", script.display()));
    assert!(
        output.status.success(),
        "the virtual machine's image can't be made:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
