//! The record of who chose each value.

use std::fmt::Display;
use std::time::Duration;

use serde::Serialize;

use crate::model::{Origin, Setting, duration_text};
use crate::read::At;
use crate::source::Source;

/// Chooses between what was written and a default, and remembers which it was.
pub(super) struct Settings<'t> {
    source: &'t Source<'t>,
    section: String,
    list: Vec<Setting>,
}

impl<'t> Settings<'t> {
    pub(super) const fn new(source: &'t Source<'t>) -> Self {
        Self {
            source,
            section: String::new(),
            list: Vec::new(),
        }
    }

    /// What follows belongs to this section.
    pub(super) fn within(&mut self, section: impl Into<String>) {
        self.section = section.into();
    }

    pub(super) fn line_of(&self, at: usize) -> usize {
        self.source.line_of(at)
    }

    /// The written value or the default.
    pub(super) fn choose<T: Clone + Serialize>(
        &mut self,
        key: &str,
        written: &Option<At<T>>,
        default: T,
        origin: Origin,
    ) -> T {
        let value = written.as_ref().map_or(default, |at| at.value.clone());
        let text =
            toml::Value::try_from(&value).map_or_else(|_| String::new(), |value| plain(&value));
        self.record(key, written.as_ref().map(|at| at.span.start), text, origin);
        value
    }

    /// The same for a value that is written as it is displayed.
    pub(super) fn choose_shown<T: Clone>(
        &mut self,
        key: &str,
        written: &Option<At<T>>,
        default: T,
        origin: Origin,
        show: impl Fn(&T) -> String,
    ) -> T {
        let value = written.as_ref().map_or(default, |at| at.value.clone());
        self.record(
            key,
            written.as_ref().map(|at| at.span.start),
            show(&value),
            origin,
        );
        value
    }

    /// The same for a duration.
    pub(super) fn duration(
        &mut self,
        key: &str,
        written: &Option<At<Duration>>,
        default: Duration,
        origin: Origin,
    ) -> Duration {
        self.choose_shown(key, written, default, origin, |value| duration_text(*value))
    }

    /// An optional value without a default; absent ones leave no record.
    pub(super) fn maybe<T: Clone + Display>(
        &mut self,
        key: &str,
        written: &Option<At<T>>,
    ) -> Option<T> {
        let at = written.as_ref()?;
        self.record(
            key,
            Some(at.span.start),
            at.value.to_string(),
            Origin::Default,
        );
        Some(at.value.clone())
    }

    /// The same for one of some words.
    pub(super) fn maybe_word<T: Copy + Serialize>(
        &mut self,
        key: &str,
        written: &Option<At<T>>,
    ) -> Option<T> {
        let at = written.as_ref()?;
        Some(self.choose(key, written, at.value, Origin::Default))
    }

    /// Records a value that was chosen elsewhere.
    pub(super) fn note<T>(&mut self, key: &str, written: Option<&At<T>>, text: String) {
        self.record(key, written.map(|at| at.span.start), text, Origin::Default);
    }

    /// Records a value with its origin, unless it was written.
    pub(super) fn record(
        &mut self,
        key: &str,
        written: Option<usize>,
        value: String,
        origin: Origin,
    ) {
        let origin = written.map_or(origin, |at| Origin::File {
            line: self.source.line_of(at),
        });
        self.list.push(Setting {
            path: format!("{}.{key}", self.section),
            value,
            origin,
        });
    }

    pub(super) fn into_list(self) -> Vec<Setting> {
        self.list
    }
}

/// A value for people: without the quotation marks around text.
fn plain(value: &toml::Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// A list for people.
pub(super) fn list<T: Display>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
    format!("[{}]", values.join(", "))
}
