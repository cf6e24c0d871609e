//! The site file: from TOML text to a validated [`Site`], with every problem reported at once.
//!
//! ```
//! let source = config::Source::new("site.toml", "[gateway]\naddress = \"203.0.113.10\"\nnmae = \"home\"\n");
//! let loaded = config::load(&source, &config::Unseen);
//! assert!(loaded.site.is_none());
//! assert_eq!(loaded.diagnostics[0].help.as_deref(), Some("did you mean \"name\"?"));
//! ```
//!
//! Four stages, each of which goes on after an error: `read` (text to typed values with spans), `check` (how they fit
//! together, against what [`profile`]s know), `resolve` (defaults filled in, the [`model`]), and the caller's rendering
//! ([`render`]). Invariants: [`load`] gives a site exactly when there is no diagnostic of [`Severity::Error`]; the same text
//! gives the same result; nothing of a secret is ever in a diagnostic or a model.
//!
//! Pure: no files, no environment, no clock. The caller brings the text and [`Secrets`]. What the host is like (does the
//! interface exist, does the kernel have ESP) is not known here.

mod as_path;
mod check;
mod code;
mod community;
mod console;
mod diagnostic;
pub mod model;
pub mod profile;
pub mod proposal;
mod read;
pub mod render;
mod resolve;
pub mod schema;
mod secrets;
mod source;
mod suggest;

pub use code::{Code, UnknownCode};
pub use console::Console;
pub use diagnostic::{Diagnostic, Label, Severity};
pub use model::Site;
pub use secrets::{
    CertificatePart, CertificateProblem, Identities, SecretUnavailable, Secrets, Unseen,
};
pub use source::{Source, Span};

/// What became of a site file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The site, unless there is an error.
    pub site: Option<Site>,
    /// Everything that was found, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads and checks a site file.
#[must_use]
pub fn load(source: &Source<'_>, secrets: &dyn Secrets) -> Loaded {
    let mut report = diagnostic::Report::new(source);
    let raw = read::read(source, &mut report);
    if let Some(raw) = &raw {
        check::check(raw, secrets, &mut report);
    }
    let site = raw
        .filter(|_| !report.has_errors())
        .and_then(|raw| resolve::resolve(&raw, source));
    Loaded {
        site,
        diagnostics: report.into_sorted(),
    }
}

/// What `causeway explain` says about a code such as `CW0101`; `None` where there is no such code.
#[must_use]
pub fn explain(code: &str) -> Option<&'static str> {
    code.parse().ok().map(Code::explanation)
}

/// Every code with what it is about.
pub fn codes() -> impl Iterator<Item = (Code, &'static str)> {
    Code::ALL.iter().map(|code| (*code, code.title()))
}
