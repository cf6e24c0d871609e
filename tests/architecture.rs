//! The rules of `docs/ARCHITECTURE.md` that a program can check: who may depend on whom, which crates stay pure,
//! how long a file may grow.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot read the tree has to fail"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Which of our own crates each crate may use. Anything else is a failure.
const MAY_USE: &[(&str, &[&str])] = &[
    ("causeway-crypto", &[]),
    ("causeway-lab", &[]),
    ("causeway-vm", &["causeway-lab"]),
    ("causeway-config", &[]),
    ("causeway-bfd", &[]),
    ("causeway-bgpd", &[]),
    ("causeway-esp", &["causeway-crypto"]),
    ("causeway-ike", &["causeway-crypto"]),
    ("causeway-vti", &["causeway-crypto", "causeway-esp"]),
    (
        "causeway",
        &[
            "causeway-bfd",
            "causeway-bgpd",
            "causeway-config",
            "causeway-crypto",
            "causeway-esp",
            "causeway-ike",
            "causeway-vti",
        ],
    ),
];

/// Crates whose code is a function of its arguments.
const PURE: &[&str] = &["bfd", "bgpd", "config", "crypto", "esp", "ike"];

/// What a pure crate must not depend on, directly.
const IMPURE_DEPENDENCIES: &[&str] = &[
    "libc",
    "mio",
    "netlink-packet-core",
    "netlink-packet-route",
    "netlink-sys",
    "nix",
    "rtnetlink",
    "rustix",
    "socket2",
    "tokio",
];

/// What the source of a pure crate must not name outside its tests.
const IMPURE_NAMES: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "SysRng",
    "OsRng",
    "rand::rng()",
];

/// The only crate that may name a cryptography library.
const CRYPTOGRAPHY: &[&str] = &[
    "aes",
    "aes-gcm",
    "cbc",
    "chacha20poly1305",
    "crypto-bigint",
    "hmac",
    "p256",
    "p384",
    "p521",
    "primeorder",
    "ring",
    "rustls-pki-types",
    "rustls-webpki",
    "sha1",
    "sha2",
    "x25519-dalek",
];

/// A longer file is more than one idea.
const MOST_LINES: usize = 800;

#[test]
fn each_crate_uses_only_what_its_room_allows() {
    let allowed: BTreeMap<_, BTreeSet<_>> = MAY_USE
        .iter()
        .map(|(name, uses)| (*name, uses.iter().copied().collect()))
        .collect();
    for (name, uses) in dependencies(&["normal", "build"]) {
        let allowed = allowed
            .get(name.as_str())
            .unwrap_or_else(|| panic!("{name} has no row in MAY_USE"));
        for dependency in uses.iter().filter(|d| d.starts_with("causeway")) {
            assert!(
                allowed.contains(dependency.as_str()),
                "{name} must not use {dependency}"
            );
        }
    }
}

#[test]
fn pure_crates_have_no_way_to_reach_the_host() {
    for (name, uses) in dependencies(&["normal", "build"]) {
        if !PURE.contains(&name.trim_start_matches("causeway-")) {
            continue;
        }
        for dependency in &uses {
            assert!(
                !IMPURE_DEPENDENCIES.contains(&dependency.as_str()),
                "{name} is pure and must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn pure_crates_never_name_the_clock_the_files_or_the_network() {
    for name in PURE {
        // A core's tests may live in a file of their own, and take the clock's first value from anywhere.
        let is_test = |file: &PathBuf| file.file_stem().is_some_and(|stem| stem == "tests");
        for file in sources(&root().join(name).join("src"))
            .into_iter()
            .filter(|file| !is_test(file))
        {
            let text = std::fs::read_to_string(&file).expect("a source file is readable");
            for (number, line) in code_lines(&text) {
                for bad in IMPURE_NAMES {
                    assert!(
                        !line.contains(bad),
                        "{}:{number} names {bad}",
                        file.display()
                    );
                }
            }
        }
    }
}

#[test]
fn only_the_crypto_crate_names_a_cryptography_library() {
    for (name, uses) in dependencies(&["normal", "build"]) {
        if name == "causeway-crypto" {
            continue;
        }
        for dependency in &uses {
            assert!(
                !CRYPTOGRAPHY.contains(&dependency.as_str()),
                "{name} must go through crypto, not {dependency}"
            );
        }
    }
}

#[test]
fn no_file_holds_more_than_one_idea() {
    let mut long = Vec::new();
    for folder in [
        "src", "bfd", "bgpd", "config", "crypto", "esp", "ike", "vti", "tests", "benches",
    ] {
        for file in sources(&root().join(folder)) {
            let lines = std::fs::read_to_string(&file)
                .expect("a source file is readable")
                .lines()
                .count();
            if lines > MOST_LINES {
                long.push(format!("{} has {lines} lines", file.display()));
            }
        }
    }
    assert!(
        long.is_empty(),
        "files over {MOST_LINES} lines:\n{}",
        long.join("\n")
    );
}

#[test]
fn unsafe_code_lives_in_one_folder() {
    let allowed = root().join("vti/src/sys");
    for folder in [
        "src", "bfd", "bgpd", "config", "crypto", "esp", "ike", "vti", "tests", "benches",
    ] {
        for file in sources(&root().join(folder)) {
            if file.starts_with(&allowed) || file.ends_with("tests/architecture.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&file).expect("a source file is readable");
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                assert!(
                    !code.contains("unsafe {")
                        && !code.contains("unsafe fn")
                        && !code.contains("unsafe impl"),
                    "{}:{} is unsafe outside vti/src/sys",
                    file.display(),
                    number + 1
                );
            }
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every workspace member with the names of what it depends on, for the given kinds.
fn dependencies(kinds: &[&str]) -> Vec<(String, BTreeSet<String>)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"]
        .as_array()
        .expect("metadata has packages");
    assert!(
        packages.len() >= MAY_USE.len(),
        "metadata lists too few packages"
    );
    packages
        .iter()
        .map(|package| {
            let name = package["name"]
                .as_str()
                .expect("a package has a name")
                .to_owned();
            let uses = package["dependencies"]
                .as_array()
                .expect("a package has dependencies")
                .iter()
                // cargo writes a normal dependency's kind as null.
                .filter(|d| kinds.contains(&d["kind"].as_str().unwrap_or("normal")))
                .map(|d| {
                    d["name"]
                        .as_str()
                        .expect("a dependency has a name")
                        .to_owned()
                })
                .collect();
            (name, uses)
        })
        .collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else {
        return found;
    };
    for entry in entries {
        let path = entry.expect("a folder entry is readable").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                found.extend(sources(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The lines of a file that are code, without comments and without what follows its test module.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(number, line)| (number + 1, line.split("//").next().unwrap_or_default()))
}
