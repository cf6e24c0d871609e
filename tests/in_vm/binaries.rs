//! The test binaries that may run inside, as cargo built them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use lab::OrFail as _;
use serde_json::Value;

/// A test binary of this workspace.
#[derive(Debug, Clone)]
pub(crate) struct Binary {
    /// The name of its file in `tests/`, without `.rs`.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

impl Binary {
    /// The names of its tests.
    pub(crate) fn tests(&self) -> Vec<String> {
        let listed = Command::new(&self.path)
            .args(["--list", "--format", "terse"])
            .output()
            .or_fail(format_args!("start {}", self.path.display()));
        assert!(
            listed.status.success(),
            "{} lists its tests",
            self.path.display()
        );
        String::from_utf8_lossy(&listed.stdout)
            .lines()
            .filter_map(|line| line.strip_suffix(": test"))
            .map(ToOwned::to_owned)
            .collect()
    }
}

/// Every binary `e2e_*` and `kernel_*`, where cargo put it. Cargo is the one that knows, and builds what is not there; after
/// `cargo nextest run --workspace` all is.
pub(crate) fn built() -> Vec<Binary> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "test",
            "--workspace",
            "--no-run",
            "--quiet",
            "--message-format",
            "json",
        ])
        .args(["--test", "e2e_*", "--test", "kernel_*"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .or_fail("start cargo");
    assert!(
        output.status.success(),
        "cargo builds the tests that run in the virtual machine"
    );
    let mut binaries: Vec<_> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| {
            message["reason"] == "compiler-artifact" && message["target"]["kind"][0] == "test"
        })
        .filter_map(|message| {
            Some(Binary {
                name: message["target"]["name"].as_str()?.to_owned(),
                path: message["executable"].as_str()?.into(),
            })
        })
        .collect();
    binaries.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        !binaries.is_empty(),
        "cargo names the test binaries that it built"
    );
    binaries
}
