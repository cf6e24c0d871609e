//! What the documents say of the tree is so: paths, links, names of tests, the example in the README.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lab::OrFail as _;

/// The folders of the tree.
const FOLDERS: [&str; 15] = [
    "benches",
    "bfd",
    "bgpd",
    "config",
    "crypto",
    "docs",
    "esp",
    "examples",
    "fuzz",
    "ike",
    "packaging",
    "scripts",
    "src",
    "tests",
    "vti",
];

#[test]
fn each_path_that_a_document_names_is_there() {
    for document in documents() {
        let missing: Vec<_> = code_spans(&read(&document))
            .filter_map(|word| named_path(&word))
            .filter(|path| !exists(path))
            .collect();
        assert!(missing.is_empty(), "{}: {missing:?}", document.display());
    }
}

#[test]
fn each_file_that_the_map_names_below_a_folder_is_there() {
    let mut names = BTreeSet::new();
    for folder in FOLDERS {
        for file in rust_files(&root().join(folder)) {
            let below = file.strip_prefix(root()).or_fail("a file of the tree");
            let parts = below.iter().map(|part| part.to_string_lossy().into_owned());
            names.extend(parts);
        }
    }
    let missing: Vec<_> = code_spans(&read(&root().join("docs/ARCHITECTURE.md")))
        .filter(|word| word.ends_with(".rs") || word.ends_with('/'))
        .filter(|word| word.trim_end_matches('/').split('/').count() == 1)
        .filter(|word| !names.contains(word.trim_end_matches('/')) && !exists(word))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn each_link_of_a_document_leads_somewhere() {
    for document in documents() {
        let text = read(&document);
        let folder = document.parent().or_fail("a document is in a folder");
        let broken: Vec<_> = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
            .filter(|target| !target.contains("://"))
            .filter(|target| !folder.join(target).exists())
            .collect();
        assert!(broken.is_empty(), "{}: {broken:?}", document.display());
    }
}

#[test]
fn each_test_that_the_rfc_coverage_names_exists() {
    let mut tests = BTreeSet::new();
    for folder in [
        "bfd", "bgpd", "config", "crypto", "esp", "ike", "src", "tests", "vti",
    ] {
        for file in rust_files(&root().join(folder)) {
            let text = read(&file);
            let mut lines = text.lines();
            while lines.by_ref().any(|line| line.trim() == "#[test]") {
                let name = lines
                    .by_ref()
                    .find_map(|line| line.trim().strip_prefix("fn ")?.split('(').next());
                tests.extend(name.map(str::to_owned));
            }
        }
    }
    let text = read(&root().join("docs/rfc-coverage.md"));
    let named: BTreeSet<_> = code_spans(&text)
        .filter(|word| !word.contains(['/', '.']))
        .collect();
    assert!(named.len() > 50, "only {} tests are named", named.len());
    let unknown: Vec<_> = named.difference(&tests).collect();
    assert!(unknown.is_empty(), "no such tests: {unknown:?}");
}

#[test]
fn the_readme_shows_the_minimal_example_as_it_is() {
    let example = read(&root().join("examples/minimal-oci.toml"));
    assert!(read(&root().join("README.md")).contains(&format!("```toml\n{example}```")));
}

#[test]
fn each_decision_is_in_the_index() {
    let folder = root().join("docs/adr");
    let index = read(&folder.join("README.md"));
    for entry in fs::read_dir(&folder).or_fail("list the decisions") {
        let name = entry.or_fail("read an entry").file_name();
        let name = name.to_string_lossy();
        assert!(
            name == "README.md" || index.contains(&format!("({name})")),
            "{name} is not in docs/adr/README.md"
        );
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).or_fail(format_args!("read {}", path.display()))
}

fn documents() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for folder in ["docs", "docs/adr"] {
        for entry in fs::read_dir(root().join(folder)).or_fail("list the documents") {
            let path = entry.or_fail("read an entry").path();
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 8, "too few documents: {found:?}");
    found
}

/// What stands between single backticks, outside of blocks.
fn code_spans(text: &str) -> impl Iterator<Item = String> {
    text.split("```")
        .step_by(2)
        .flat_map(|part| part.split('`').skip(1).step_by(2))
        .map(str::to_owned)
}

/// A code span that is a path of this tree: it begins with one of its folders.
fn named_path(word: &str) -> Option<String> {
    let (folder, _) = word.split_once('/')?;
    let plain = !word.contains(char::is_whitespace) && FOLDERS.contains(&folder);
    plain.then(|| word.to_owned())
}

/// Whether a path is there; a `*` in its last part stands for anything.
fn exists(path: &str) -> bool {
    let Some((before, after)) = path.split_once('*') else {
        return root().join(path).exists();
    };
    let (folder, start) = before.rsplit_once('/').unwrap_or((".", before));
    let Ok(mut entries) = fs::read_dir(root().join(folder)) else {
        return false;
    };
    entries.any(|entry| {
        let name = entry.map(|entry| entry.file_name()).unwrap_or_default();
        let name = name.to_string_lossy();
        name.starts_with(start) && name.ends_with(after)
    })
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).or_fail(format_args!("list {}", folder.display())) {
        let path = entry.or_fail("read an entry").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
