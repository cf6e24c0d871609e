//! The reference of the site file, made from its sections and keys.

use std::fmt::Write as _;

use super::{Key, SECTIONS, Section};

impl Section {
    /// Its heading, in Markdown.
    #[must_use]
    pub fn title(&self) -> String {
        match self.path {
            "" => "The file".to_owned(),
            "firewall.rule" | "route-map.NAME" | "route" => format!("`[[{}]]`", self.path),
            "prefix-list.NAME" => "`[prefix-list]`".to_owned(),
            "tunnel.NAME.psk" => "Secrets".to_owned(),
            path => format!("`[{path}]`"),
        }
    }
}

/// The reference of the site file, in Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(INTRODUCTION);
    for section in SECTIONS {
        let _ = writeln!(
            out,
            "\n## {}\n\n{}\n\n| key | default | meaning |\n|---|---|---|",
            section.title(),
            section.about
        );
        for Key {
            name,
            default,
            meaning,
        } in section.keys
        {
            let default = if default.is_empty() {
                "required"
            } else {
                default
            };
            let _ = writeln!(out, "| `{name}` | {default} | {meaning} |");
        }
    }
    out
}

/// What comes before the sections, in Markdown: paragraphs, and a list.
pub const INTRODUCTION: &str = "# The site file

One TOML file says everything. `causeway check FILE` reports every problem at once, with its line and a code that
`causeway explain CODE` explains; `causeway check --explain FILE` prints the effective site and where each value came from.
Complete files are in `examples/`. An unknown key is an error. This page is made from the program's own table of keys.

- Durations are text: `\"500ms\"`, `\"10s\"`, `\"1h30m\"`, `\"1d\"`.
- Networks are text with a length and without host bits: `\"192.168.2.0/24\"`.
- Names are letters, digits, `-`, `_` and `.`, at most 32 characters.
";
