//! One bad file for each code, and what is said about it.
//!
//! `tests/bad/CW0101.toml` is a small change of a good site that must lead to CW0101; the snapshot beside it is what people
//! see. Other diagnostics may come along where the change has several consequences.

use std::path::{Path, PathBuf};

use config::model::{Certificate, SecretSource};
use config::render::{self, Colour};
use config::{
    CertificatePart, CertificateProblem, Code, Identities, Loaded, SecretUnavailable, Secrets,
    Severity, Source, Unseen, load,
};

#[test]
fn each_code_has_a_file_that_leads_to_it() {
    for code in Code::ALL {
        let path = folder().join(format!("{code}.toml"));
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = format!("{code}.toml");
        let source = Source::new(&name, &text);
        let Loaded { site, diagnostics } = load(&source, &Vault);
        assert!(
            diagnostics.iter().any(|each| each.code == *code),
            "{name} does not lead to {code}"
        );
        let errors = diagnostics
            .iter()
            .any(|each| each.severity == Severity::Error);
        assert_eq!(
            site.is_none(),
            errors,
            "{name}: a site exactly where there is no error"
        );
        insta::assert_snapshot!(
            code.to_string(),
            render::all(&source, &diagnostics, Colour::Never)
        );
    }
}

#[test]
fn each_file_belongs_to_a_code() {
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let code = name.trim_end_matches(".toml");
        assert!(code.parse::<Code>().is_ok(), "{name}");
    }
}

#[test]
fn each_code_is_explained() {
    for (code, title) in config::codes() {
        let text = config::explain(&code.to_string()).unwrap();
        assert!(!title.is_empty() && text.len() > 60, "{code}");
    }
    assert_eq!(config::explain("CW9999"), None);
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let text = "[gateway]\nadress = \"203.0.113.10\"\n\n[tunnel.a]\ninside = \"10.1.0.0/29\"\n\n[bgp]\nasn = 0\nmaximum-paths = 0\n";
    let diagnostics = load(&Source::new("site.toml", text), &Unseen).diagnostics;
    let codes: Vec<Code> = diagnostics.iter().map(|each| each.code).collect();
    for code in [
        Code::UnknownKey,
        Code::MissingKey,
        Code::InsideNotPointToPoint,
        Code::AsnReserved,
        Code::MaximumPaths,
    ] {
        assert!(codes.contains(&code), "{code} is not among {codes:?}");
    }
    let places: Vec<usize> = diagnostics
        .iter()
        .map(|each| each.labels[0].span.start)
        .collect();
    assert!(places.is_sorted());
}

#[test]
fn a_secret_in_the_file_is_not_shown() {
    let text = "[gateway]\naddress = \"203.0.113.10\"\n\n[tunnel.a]\npsk = \"hunter2hunter2\"\nsecret = \"hunter2hunter2\"\n";
    let source = Source::new("site.toml", text);
    let diagnostics = load(&source, &Unseen).diagnostics;
    let shown = render::all(&source, &diagnostics, Colour::Always)
        + &diagnostics
            .iter()
            .map(|each| render::line(&source, each))
            .collect::<String>()
        + &format!("{diagnostics:?}");
    assert!(shown.contains("CW0003") && shown.contains("CW0002"));
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_wrong_key_is_judged_without_being_shown() {
    let text = std::fs::read_to_string(folder().join("CW0120.toml")).unwrap();
    let source = Source::new("site.toml", &text);
    let diagnostics = load(&source, &Vault).diagnostics;
    assert!(!format!("{diagnostics:?}").contains(QUOTED.trim_matches('"')));
}

#[test]
fn one_line_says_where_what_and_what_to_do() {
    let text = "[gateway]\naddress = \"203.0.113.10\"\nnmae = \"home\"\n";
    let source = Source::new("site.toml", text);
    let diagnostics = load(&source, &Unseen).diagnostics;
    insta::assert_snapshot!(
        render::line(&source, &diagnostics[0]),
        @r#"site.toml:3:1: error[CW0002]: unknown key "nmae" in [gateway] (did you mean "name"?)"#
    );
}

#[test]
fn colours_are_only_added() {
    let text = std::fs::read_to_string(folder().join("CW0105.toml")).unwrap();
    let source = Source::new("site.toml", &text);
    let diagnostics = load(&source, &Unseen).diagnostics;
    let coloured = render::all(&source, &diagnostics, Colour::Always);
    let mut plain = String::new();
    let mut parts = coloured.split('\u{1b}');
    plain.push_str(parts.next().unwrap());
    for part in parts {
        plain.push_str(part.split_once('m').unwrap().1);
    }
    assert_eq!(plain, render::all(&source, &diagnostics, Colour::Never));
}

const QUOTED: &str = "\"dZ7nQ2mXr4sT6vW8yB1cE3\"";

/// A vault with good keys, and a few bad ones.
struct Vault;

impl Secrets for Vault {
    fn inspect(
        &self,
        source: &SecretSource,
        look: &mut dyn FnMut(&[u8]),
    ) -> Result<(), SecretUnavailable> {
        match source {
            SecretSource::File(path) if path == Path::new("/missing") => {
                return Err(SecretUnavailable {
                    reason: "/missing may be read by others (mode 0644)".to_owned(),
                    help: Some("chmod 600 /missing".to_owned()),
                });
            }
            SecretSource::File(path) if path == Path::new("/quoted") => look(QUOTED.as_bytes()),
            SecretSource::File(path) if path == Path::new("/short") => look(b"letmein"),
            _ => look(b"dZ7nQ2mXr4sT6vW8yB1cE3fG5hJ7kL9p"),
        }
        Ok(())
    }

    fn judge(&self, certificate: &Certificate, _: Identities<'_>) -> Vec<CertificateProblem> {
        let problem = |part, severity, reason: &str| CertificateProblem {
            part,
            severity,
            reason: reason.to_owned(),
            help: None,
        };
        let file = certificate.file.as_path();
        if file == Path::new("/expired") {
            let reason = "the certificate of CN=home has expired on 2026-01-01";
            return vec![problem(CertificatePart::File, Severity::Error, reason)];
        }
        if file == Path::new("/ends-soon") {
            let reason = "our certificate of CN=home ends on 2026-12-01";
            return vec![problem(CertificatePart::File, Severity::Warning, reason)];
        }
        Vec::new()
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad")
}
