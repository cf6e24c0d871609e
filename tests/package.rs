//! The Debian package as `scripts/package.sh` makes it, and what is in it: manual pages, completions, the unit.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::OrFail as _;

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

const UNIT: &str = include_str!("../packaging/causeway.service");

/// Where `systemd-analyze` has to see the unit at most: 0 is nothing exposed, 10 is all.
const MOST_EXPOSED: f64 = 2.5;

#[test]
fn the_package_has_everything_in_its_place_and_the_same_sources_make_the_same_package() {
    let folder = Folder::new("package");
    let first = build(&folder.path().join("first"));
    let second = build(&folder.path().join("second"));
    assert!(
        fs::read(&first).or_fail("read the package") == fs::read(&second).or_fail("read the other"),
        "two builds of the same sources differ"
    );

    let first = first.display().to_string();
    let listing = run("dpkg-deb", &["--contents", &first]);
    let mut held = BTreeSet::new();
    for line in listing.lines().filter(|line| !line.ends_with('/')) {
        let words: Vec<_> = line.split_whitespace().collect();
        let [mode, owner, .., path] = words.as_slice() else {
            panic!("a line of the listing has too few words: {line}")
        };
        assert_eq!(*owner, "0/0", "{line}");
        let wanted = if path.starts_with("./usr/bin/") {
            "-rwxr-xr-x"
        } else {
            "-rw-r--r--"
        };
        assert_eq!(*mode, wanted, "{line}");
        held.insert(path.trim_start_matches('.').to_owned());
    }
    let mut wanted: BTreeSet<String> = [
        "/usr/bin/causeway",
        "/usr/lib/systemd/system/causeway.service",
        "/usr/lib/sysusers.d/causeway.conf",
        "/usr/share/bash-completion/completions/causeway",
        "/usr/share/fish/vendor_completions.d/causeway.fish",
        "/usr/share/zsh/vendor-completions/_causeway",
        "/usr/share/doc/causeway/changelog.gz",
        "/usr/share/doc/causeway/changelog.Debian.gz",
        "/usr/share/doc/causeway/control-api.md",
        "/usr/share/doc/causeway/copyright",
        "/usr/share/doc/causeway/metrics.md",
        "/usr/share/doc/causeway/operations.md",
        "/usr/share/doc/causeway/status.md",
    ]
    .map(str::to_owned)
    .into();
    let examples = fs::read_dir(root().join("examples")).or_fail("list the examples");
    for example in examples {
        let name = example.or_fail("read an entry").file_name();
        wanted.insert(format!(
            "/usr/share/doc/causeway/examples/{}",
            name.display()
        ));
    }
    for page in manual_pages(&folder.path().join("man")) {
        let name = page.file_name().or_fail("a page has a name").display();
        let section = name.to_string();
        let section = section.rsplit('.').next().or_fail("a page has a section");
        wanted.insert(format!("/usr/share/man/man{section}/{name}.gz"));
    }
    assert_eq!(held, wanted);

    let control = |field: &str| run("dpkg-deb", &["--field", &first, field]);
    assert_eq!(control("Package").trim(), "causeway");
    assert_eq!(control("Version").trim(), "9.9.9-1");
    let depends = control("Depends");
    assert!(
        depends.contains("libc6 (>= ") && depends.contains("systemd-sysusers"),
        "{depends}"
    );
    let synopsis = control("Description");
    let synopsis = synopsis.lines().next().unwrap_or_default();
    assert!(!synopsis.is_empty() && synopsis.len() <= 80, "{synopsis}");

    run(
        "dpkg-deb",
        &["--control", &first, &folder.path().display().to_string()],
    );
    for script in ["postinst", "prerm", "postrm"] {
        let path = folder.path().join(script).display().to_string();
        run("sh", &["-n", &path]);
        let text = fs::read_to_string(&path).or_fail("read a maintainer script");
        assert!(!text.contains("#DEBHELPER#"), "{script}:\n{text}");
    }
}

#[test]
fn each_manual_page_renders_without_a_warning() {
    let folder = Folder::new("manual");
    let pages = manual_pages(folder.path());
    assert!(pages.len() > 10, "only {} pages", pages.len());
    for page in &pages {
        let name = page.display().to_string();
        let output = Command::new("man")
            .args(["--warnings", "--local-file", &name])
            .env("LC_ALL", "C.UTF-8")
            .env("MANROFFSEQ", "")
            .env("MANWIDTH", "80")
            .output()
            .or_fail("run man (from the package man-db)");
        let warnings = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && warnings.is_empty(),
            "{name}: {warnings}"
        );
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains("SYNOPSIS") && text.contains("SEE ALSO"),
            "{text}"
        );
    }

    // What the program itself knows is in the pages: each command, each key of the site file.
    let main = run(CAUSEWAY, &["man"]);
    let help = run(CAUSEWAY, &["--help"]);
    let (_, rest) = help.split_once("Commands:").or_fail("find the commands");
    let (commands, _) = rest.split_once("Options:").or_fail("find their end");
    for command in commands.lines().filter(|line| line.starts_with("  ")) {
        let Some(name) = command.split_whitespace().next() else {
            continue;
        };
        if name != "help" && command.starts_with("  ") && !command.starts_with("   ") {
            assert!(main.contains(&format!("causeway\\-{name}(1)")), "{name}");
            assert!(run(CAUSEWAY, &["man", name]).contains(".SH OPTIONS"));
        }
    }
    let site = run(CAUSEWAY, &["man", "site"]);
    for key in ["replay\\-window", "allow\\-overlap", "data\\-plane"] {
        assert!(site.contains(&format!("\\fB{key}\\fR")), "no {key}");
    }
    let unknown = Command::new(CAUSEWAY).args(["man", "nonsense"]).output();
    let unknown = unknown.or_fail("ask for a page that is not there");
    assert_eq!(unknown.status.code(), Some(2));
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert!(said.contains("bgp routes"), "{said}");
}

/// What bash offers for a line, its last word being the one that is completed.
fn completed(script: &Path, words: &[&str]) -> BTreeSet<String> {
    let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    let last = words.len() - 1;
    let (word, before) = (words[last], words[last - 1]);
    let text = format!(
        "set -u; source '{}'\n\
         COMP_WORDS=({}); COMP_CWORD={last}; COMPREPLY=()\n\
         _causeway causeway '{word}' '{before}'\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        quoted.join(" "),
    );
    let said = run("bash", &["--norc", "-c", &text]);
    said.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_choices() {
    let folder = Folder::new("completions");
    let script = folder.path().join("causeway");
    fs::write(&script, run(CAUSEWAY, &["completions", "bash"])).or_fail("write the completions");
    let offered = completed(&script, &["causeway", "st"]);
    assert_eq!(offered, BTreeSet::from(["status".to_owned()]));
    let offered = completed(&script, &["causeway", "tunnel", "oci-1", ""]);
    for action in ["up", "down", "rekey"] {
        assert!(offered.contains(action), "{offered:?}");
    }
    let offered = completed(&script, &["causeway", "bgp", "routes", "--j"]);
    assert_eq!(offered, BTreeSet::from(["--json".to_owned()]));

    for (shell, word) in [
        ("zsh", "#compdef causeway"),
        ("fish", "complete -c causeway"),
    ] {
        let text = run(CAUSEWAY, &["completions", shell]);
        assert!(text.contains(word), "{shell}: {text}");
    }
}

#[test]
fn systemd_finds_no_fault_with_the_unit_and_little_exposed() {
    let folder = Folder::new("unit");
    let unit = folder.path().join("causeway.service");
    // The program is not installed on the machine that tests it.
    assert!(UNIT.contains("=/usr/bin/causeway "));
    fs::write(&unit, UNIT.replace("/usr/bin/causeway", CAUSEWAY)).or_fail("write the unit");
    let unit = unit.display().to_string();
    let faults = run("systemd-analyze", &["verify", "--man=no", &unit]);
    assert_eq!(faults, "");

    let report = run("systemd-analyze", &["security", "--offline=true", &unit]);
    let verdict = report.lines().find(|line| line.contains("exposure level"));
    let verdict = verdict.or_fail(format_args!("find the verdict in {report}"));
    let level: f64 = verdict
        .split_whitespace()
        .find_map(|word| word.parse().ok())
        .or_fail(format_args!("find a number in {verdict}"));
    println!("{}", verdict.trim());
    assert!(level < MOST_EXPOSED, "{report}");
}

/// The package of this very program, with a version that no release has.
fn build(folder: &Path) -> PathBuf {
    let folder = folder.display().to_string();
    let script = root().join("scripts/package.sh").display().to_string();
    let said = run(
        &script,
        &[
            "--binary",
            CAUSEWAY,
            "--version",
            "9.9.9-1",
            "--output",
            &folder,
            "--fast",
        ],
    );
    PathBuf::from(said.lines().last().or_fail("the script names the package"))
}

fn manual_pages(folder: &Path) -> Vec<PathBuf> {
    run(
        CAUSEWAY,
        &["man", "--output", &folder.display().to_string()],
    );
    let entries = fs::read_dir(folder).or_fail("list the pages");
    entries
        .map(|entry| entry.or_fail("read an entry").path())
        .collect()
}

/// Runs a program that has to succeed; gives back what it says, its complaints included.
#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .or_fail(format_args!("run {program}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{said}{complaints}",
        output.status
    );
    said + &complaints
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).or_fail("make a folder for the test");
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
