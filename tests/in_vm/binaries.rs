//! The test binaries that may run inside, as cargo built them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lab::OrFail as _;
use serde_json::Value;

/// A test binary of this workspace.
#[derive(Debug, Clone)]
pub(crate) struct Binary {
    /// The name of its file in `tests/`, without `.rs`.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// Its tests, where all of them run inside.
    pub(crate) tests: Vec<String>,
}

/// A binary as it is written down.
type Row = (String, PathBuf, Vec<String>);

impl From<Row> for Binary {
    fn from((name, path, tests): Row) -> Self {
        Self { name, path, tests }
    }
}

/// The names of a binary's tests.
fn list(path: &Path) -> Vec<String> {
    let listed = Command::new(path)
        .args(["--list", "--format", "terse"])
        .output()
        .or_fail(format_args!("start {}", path.display()));
    assert!(
        listed.status.success(),
        "{} lists its tests",
        path.display()
    );
    String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(ToOwned::to_owned)
        .collect()
}

/// Every binary `e2e_*` and `kernel_*` with the tests of the latter.
///
/// The test runner asks for the list of tests first, and then starts this program once for each of them. All of them are to run
/// what was listed, so the list is written down; whoever starts a test without a runner gets a new one.
pub(crate) fn known(listing: bool) -> Vec<Binary> {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("binaries-in-the-vm.json");
    let has_a_runner = std::env::var_os("NEXTEST").is_some();
    if !listing
        && has_a_runner
        && let Ok(text) = std::fs::read_to_string(&file)
    {
        let rows: Vec<Row> =
            serde_json::from_str(&text).or_fail(format_args!("read {}", file.display()));
        return rows.into_iter().map(Binary::from).collect();
    }
    let binaries = built();
    let rows: Vec<_> = binaries
        .iter()
        .map(|b| (&b.name, &b.path, &b.tests))
        .collect();
    let text = serde_json::to_string(&rows).or_fail("write a list down");
    // Whoever reads it meanwhile sees the old list or the new one.
    let unfinished = file.with_extension(std::process::id().to_string());
    std::fs::write(&unfinished, text).or_fail(format_args!("write {}", unfinished.display()));
    std::fs::rename(&unfinished, &file).or_fail(format_args!("write {}", file.display()));
    binaries
}

/// What cargo says. It is the one that knows where it put what it built, and it builds what is not there; after
/// `cargo nextest run --workspace` all is.
fn built() -> Vec<Binary> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What the runner says of this package would be taken by the build scripts of others for a change of their surroundings: ring
    // would be built anew with all that needs it, here and again by the runner.
    for (name, _) in std::env::vars_os() {
        let said_of_a_package = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ];
        if said_of_a_package
            .iter()
            .any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
        {
            cargo.env_remove(name);
        }
    }
    let output = cargo
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
            let name = message["target"]["name"].as_str()?.to_owned();
            let path = PathBuf::from(message["executable"].as_str()?);
            let tests = if name.starts_with("kernel_") {
                list(&path)
            } else {
                Vec::new()
            };
            Some(Binary { name, path, tests })
        })
        .collect();
    binaries.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(
        !binaries.is_empty(),
        "cargo names the test binaries that it built"
    );
    for pair in binaries.windows(2) {
        let names: Vec<_> = pair.iter().map(|binary| &binary.name).collect();
        assert!(
            names.first() != names.last(),
            "two test binaries of the workspace are called {names:?}: give one another name"
        );
    }
    binaries
}
