//! `docs/site-file.md` is made from the program's own table of keys. To make it anew after a change:
//! `CAUSEWAY_BLESS=1 cargo test -p causeway-config --test documentation`.

use std::path::Path;

#[test]
fn the_reference_of_the_site_file_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/site-file.md");
    let made = config::schema::markdown();
    if std::env::var_os("CAUSEWAY_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written == made,
        "docs/site-file.md differs from the table of keys; see the head of this test"
    );
}

#[test]
fn every_key_is_documented() {
    let text = config::schema::markdown();
    for section in config::schema::SECTIONS {
        assert!(!section.about.is_empty());
        for key in section.keys {
            assert!(
                !key.meaning.is_empty() && text.contains(&format!("| `{}` |", key.name)),
                "{}",
                key.name
            );
        }
    }
}
