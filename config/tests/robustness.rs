//! Whatever the text, there is an answer: a site exactly where there is no error, diagnostics that can be shown, no panic.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its files has failed"
)]

use std::path::Path;

use config::render::{self, Colour};
use config::{Severity, Source, Unseen, load};
use proptest::prelude::*;

/// Loads a text and renders everything that is said about it.
fn exercise(text: &str) {
    let source = Source::new("site.toml", text);
    let loaded = load(&source, &Unseen);
    let errors = loaded
        .diagnostics
        .iter()
        .any(|each| each.severity == Severity::Error);
    assert_eq!(
        loaded.site.is_none(),
        errors,
        "{text}\n{:?}",
        loaded.diagnostics
    );
    for diagnostic in &loaded.diagnostics {
        let shown = render::human(&source, diagnostic, Colour::Never);
        let line = render::line(&source, diagnostic);
        assert!(!line.contains('\n') && shown.ends_with('\n'));
        for label in &diagnostic.labels {
            assert!(text.get(label.span.start..label.span.end).is_some());
        }
    }
    if let Some(site) = loaded.site {
        assert!(!site.explain().is_empty());
    }
}

/// Pieces of which a site file is made, some of them wrong.
const PIECES: &[&str] = &[
    "[gateway]",
    "[tunnel.a]",
    "[bgp]",
    "[bgp.neighbor.b]",
    "[prefix-list]",
    "[alias]",
    "[firewall]",
    "[[firewall.rule]]",
    "address = \"203.0.113.10\"",
    "networks = [\"10.0.0.0/8\", \"::/0\"]",
    "remote = \"198.51.100.1\"",
    "inside = \"10.1.0.0/31\"",
    "inside = \"0.0.0.0/0\"",
    "inside = \"255.255.255.255/32\"",
    "psk = { env = \"X\" }",
    "psk = 7",
    "asn = 65000",
    "asn = -1",
    "tunnel = \"a\"",
    "import = \"l\"",
    "export = \"all\"",
    "[[route-map.m]]",
    "import = \"m\"",
    "match.as-path = [\"^(1|.*)+ [5-9]{2,}$\", \"((((\", \"é\"]",
    "match.community = [\"1:[2-3]\", \"*:*\", \"rt:1\"]",
    "match.prefix-list = \"l\"",
    "set.add-extended-community = \"rt:65000:1\"",
    "set.large-community = []",
    "role = \"backup\"",
    "[[route]]",
    "prefix = \"10.9.0.0/16\"",
    "blackhole = true",
    "via = \"10.0.0.1\"",
    "l = [{ permit = \"0.0.0.0/0\", ge = 1, le = 255 }]",
    "l = [{ seq = 4294967295, deny = \"10.0.0.0/8\" }, { permit = \"10.0.0.0/8\" }]",
    "ike = [\"aes256-sha1-modp2048\", \"é-\"]",
    "x = { include = [\"y\"] }",
    "y = { include = [\"x\", \"y\"] }",
    "action = \"drop\"",
    "source = \"x\"",
    "ports = [0, \"9-1\"]",
    "protocol = 300",
    "maximum-paths = 99999999999999999999",
    "hold-time = \"1000000d\"",
    "\u{feff}",
    "\t",
    "[",
    "\"",
    "= 1979-05-27",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_gets_an_answer(text in "\\PC{0,200}") {
        exercise(&text);
    }

    #[test]
    fn arbitrary_control_characters_get_an_answer(text in "(?s).{0,80}") {
        exercise(&text);
    }

    #[test]
    fn any_order_of_pieces_gets_an_answer(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..30)) {
        exercise(&pieces.join("\n"));
    }

    #[test]
    fn any_mutation_of_the_reference_site_gets_an_answer(edits in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, any::<char>()), 1..6)) {
        let mut letters: Vec<char> = reference().chars().collect();
        for (place, kind, letter) in edits {
            let at = place.index(letters.len());
            match kind {
                0 => letters[at] = letter,
                1 => letters.insert(at, letter),
                2 => drop(letters.remove(at)),
                _ => {
                    let digit = char::from_digit(u32::from(letter) % 10, 10).unwrap();
                    if let Some(found) = letters.iter().skip(at).position(char::is_ascii_digit) {
                        letters[at + found] = digit;
                    }
                }
            }
        }
        exercise(&letters.into_iter().collect::<String>());
    }

    #[test]
    fn any_line_left_out_of_the_reference_site_gets_an_answer(left_out in prop::collection::vec(any::<prop::sample::Index>(), 1..5)) {
        let text = reference();
        let mut lines: Vec<&str> = text.lines().collect();
        for place in left_out {
            lines.remove(place.index(lines.len()));
        }
        exercise(&lines.join("\n"));
    }
}

#[test]
fn the_reference_site_cut_anywhere_gets_an_answer() {
    let text = reference();
    for (at, _) in text.char_indices() {
        exercise(&text[..at]);
    }
}

fn reference() -> String {
    std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/reference-site.toml"),
    )
    .unwrap()
}
