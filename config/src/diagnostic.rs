//! Diagnostics: what is wrong with a site file, where, and what to do about it.

use std::ops::Range;

use serde::Serialize;

use crate::code::Code;
use crate::source::{Source, Span};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, and is probably not what was meant.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Its stable code.
    pub code: Code,
    /// What is wrong, in one line, with the values concerned.
    pub message: String,
    /// Where: the first is the place itself, the others belong to it.
    pub labels: Vec<Label>,
    /// What to do.
    pub help: Option<String>,
}

/// A place that belongs to a diagnostic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is there; may be empty.
    pub text: String,
    /// Octets of the text that must not be shown: a secret that was written into the file.
    #[serde(skip)]
    pub concealed: Range<usize>,
}

/// Collects diagnostics while a file is read and checked.
#[derive(Debug)]
pub(crate) struct Report<'t> {
    source: &'t Source<'t>,
    found: Vec<Diagnostic>,
}

impl<'t> Report<'t> {
    pub(crate) const fn new(source: &'t Source<'t>) -> Self {
        Self {
            source,
            found: Vec::new(),
        }
    }

    pub(crate) fn error(
        &mut self,
        code: Code,
        at: Range<usize>,
        message: impl Into<String>,
    ) -> Draft<'_> {
        self.add(Severity::Error, code, at, message.into())
    }

    pub(crate) fn warning(
        &mut self,
        code: Code,
        at: Range<usize>,
        message: impl Into<String>,
    ) -> Draft<'_> {
        self.add(Severity::Warning, code, at, message.into())
    }

    pub(crate) fn note(
        &mut self,
        code: Code,
        at: Range<usize>,
        message: impl Into<String>,
    ) -> Draft<'_> {
        self.add(Severity::Note, code, at, message.into())
    }

    fn add(
        &mut self,
        severity: Severity,
        code: Code,
        at: Range<usize>,
        message: String,
    ) -> Draft<'_> {
        let label = Label {
            span: self.source.span(at),
            text: String::new(),
            concealed: 0..0,
        };
        let diagnostic = Diagnostic {
            severity,
            code,
            message,
            labels: vec![label],
            help: None,
        };
        Draft {
            source: self.source,
            diagnostic,
            found: &mut self.found,
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.found
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// What was found, in the order of the file.
    pub(crate) fn into_sorted(mut self) -> Vec<Diagnostic> {
        let place = |diagnostic: &Diagnostic| diagnostic.labels.first().map(|label| label.span);
        self.found.sort_by(|a, b| {
            place(a)
                .cmp(&place(b))
                .then(a.severity.cmp(&b.severity))
                .then(a.code.cmp(&b.code))
                .then_with(|| a.message.cmp(&b.message))
        });
        self.found.dedup();
        self.found
    }
}

/// A diagnostic that is being written; it counts when it is dropped.
#[derive(Debug)]
pub(crate) struct Draft<'r> {
    source: &'r Source<'r>,
    diagnostic: Diagnostic,
    found: &'r mut Vec<Diagnostic>,
}

impl Draft<'_> {
    /// Says what is at the place itself.
    pub(crate) fn here(mut self, text: impl Into<String>) -> Self {
        if let Some(label) = self.diagnostic.labels.first_mut() {
            label.text = text.into();
        }
        self
    }

    /// Points at another place too.
    pub(crate) fn also(mut self, at: Range<usize>, text: impl Into<String>) -> Self {
        self.diagnostic.labels.push(Label {
            span: self.source.span(at),
            text: text.into(),
            concealed: 0..0,
        });
        self
    }

    /// Keeps a part of the file out of what is shown.
    pub(crate) fn conceal(mut self, range: Range<usize>) -> Self {
        if let Some(label) = self.diagnostic.labels.first_mut() {
            label.concealed = range;
        }
        self
    }

    /// Says what to do.
    pub(crate) fn help(mut self, text: impl Into<String>) -> Self {
        self.diagnostic.help = Some(text.into());
        self
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        let (labels, help) = (
            std::mem::take(&mut self.diagnostic.labels),
            self.diagnostic.help.take(),
        );
        let message = std::mem::take(&mut self.diagnostic.message);
        let Diagnostic { severity, code, .. } = self.diagnostic;
        self.found.push(Diagnostic {
            severity,
            code,
            message,
            labels,
            help,
        });
    }
}
