//! Tables of a TOML document, read key by key, so that one wrong value hides no other.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::code::Code;
use crate::diagnostic::Report;
use crate::schema::{self, Key};
use crate::suggest;

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

impl<T> At<T> {
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> At<U> {
        At {
            value: change(self.value),
            span: self.span,
        }
    }
}

/// A value that can be read from TOML.
pub(crate) trait Read: Sized {
    /// Reads it, or reports why not.
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self>;
}

/// A table whose keys are known.
pub(crate) struct Section<'v> {
    table: &'v DeTable<'v>,
    /// Where it begins, for what is said about it as a whole.
    pub(crate) at: Range<usize>,
    what: String,
}

impl<'v> Section<'v> {
    /// Takes a value as a table with these keys; `what` names it in messages (`tunnel oci-1`). Unknown keys are reported,
    /// and the known ones can still be read.
    pub(crate) fn open(
        value: &'v Spanned<DeValue<'v>>,
        at: Range<usize>,
        what: String,
        schema: &schema::Section,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            wrong_type(value, "a table", report);
            return None;
        };
        Some(Self::of(table, at, what, schema, report))
    }

    /// The same for a table at hand.
    pub(crate) fn of(
        table: &'v DeTable<'v>,
        at: Range<usize>,
        what: String,
        schema: &schema::Section,
        report: &mut Report<'_>,
    ) -> Self {
        let section = Self { table, at, what };
        for (key, value) in entries(table) {
            let name: &str = key.get_ref();
            if !schema.keys.iter().any(|known| known.name == name) {
                section.unknown(name, key.span(), value, schema, report);
            }
        }
        section
    }

    fn unknown(
        &self,
        name: &str,
        at: Range<usize>,
        value: &Spanned<DeValue<'_>>,
        schema: &schema::Section,
        report: &mut Report<'_>,
    ) {
        let message = format!("unknown key \"{name}\" in {}", self.what);
        // What somebody thought to be a key for a secret may have one as its value.
        let draft = report
            .error(Code::UnknownKey, at, message)
            .conceal(match value.get_ref() {
                DeValue::String(_) => value.span(),
                _ => 0..0,
            });
        let hyphened = name.replace('_', "-");
        let names = || schema.keys.iter().map(|key: &Key| key.name);
        if let Some(near) = names()
            .find(|known| *known == hyphened)
            .or_else(|| suggest::nearest(name, names()))
        {
            drop(draft.help(format!("did you mean \"{near}\"?")));
            return;
        }
        let elsewhere = schema::SECTIONS
            .iter()
            .find(|other| !other.path.is_empty() && other.keys.iter().any(|key| key.name == name));
        let known: Vec<&str> = names().collect();
        drop(match elsewhere {
            Some(other) => draft.help(format!("\"{name}\" belongs in [{}]", other.path)),
            None => draft.help(format!("known here: {}", known.join(", "))),
        });
    }

    /// The value of a key as it stands.
    pub(crate) fn value(&self, name: &str) -> Option<&'v Spanned<DeValue<'v>>> {
        self.table
            .iter()
            .find(|(key, _)| key.get_ref() == name)
            .map(|(_, value)| value)
    }

    /// The key and its value.
    pub(crate) fn entry(
        &self,
        name: &str,
    ) -> Option<(&'v Spanned<DeString<'v>>, &'v Spanned<DeValue<'v>>)> {
        self.table.iter().find(|(key, _)| key.get_ref() == name)
    }

    /// An optional value. A wrong one is reported and then absent.
    pub(crate) fn get<T: Read>(&self, name: &str, report: &mut Report<'_>) -> Option<At<T>> {
        let value = self.value(name)?;
        Some(At {
            value: T::read(value, report)?,
            span: value.span(),
        })
    }

    /// A value that has to be there.
    pub(crate) fn require<T: Read>(&self, name: &str, report: &mut Report<'_>) -> Option<At<T>> {
        if self.value(name).is_none() {
            self.missing(name, report);
        }
        self.get(name, report)
    }

    /// Reports that a key is missing.
    pub(crate) fn missing(&self, name: &str, report: &mut Report<'_>) {
        let meaning = schema::SECTIONS
            .iter()
            .flat_map(|section| section.keys)
            .find(|key| key.name == name)
            .map_or("", |key| key.meaning);
        drop(
            report
                .error(
                    Code::MissingKey,
                    self.at.clone(),
                    format!("{} has no \"{name}\"", self.what),
                )
                .help(format!("add {name} = …: {meaning}")),
        );
    }

    /// An optional number in a range.
    pub(crate) fn number<N: TryFrom<i64>>(
        &self,
        name: &str,
        range: RangeInclusive<i64>,
        report: &mut Report<'_>,
    ) -> Option<At<N>> {
        let value = self.value(name)?;
        Some(At {
            value: number(value, range, report)?,
            span: value.span(),
        })
    }

    /// An optional value, or several in a list; wrong elements are reported and left out.
    pub(crate) fn one_or_more<T: Read>(
        &self,
        name: &str,
        report: &mut Report<'_>,
    ) -> Option<At<Vec<At<T>>>> {
        let value = self.value(name)?;
        if value.get_ref().is_array() {
            return self.list(name, report);
        }
        let one = self.get(name, report)?;
        Some(At {
            span: one.span.clone(),
            value: vec![one],
        })
    }

    /// An optional list; wrong elements are reported and left out.
    pub(crate) fn list<T: Read>(
        &self,
        name: &str,
        report: &mut Report<'_>,
    ) -> Option<At<Vec<At<T>>>> {
        let value = self.value(name)?;
        let list = elements(value, "a list in [ ]", report, |element, report| {
            Some(At {
                value: T::read(element, report)?,
                span: element.span(),
            })
        })?;
        Some(At {
            value: list,
            span: value.span(),
        })
    }
}

/// The entries of a table in the order of the file.
pub(crate) fn entries<'v>(
    table: &'v DeTable<'v>,
) -> Vec<(&'v Spanned<DeString<'v>>, &'v Spanned<DeValue<'v>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// Reads a whole number in a range.
pub(crate) fn number<N: TryFrom<i64>>(
    value: &Spanned<DeValue<'_>>,
    range: RangeInclusive<i64>,
    report: &mut Report<'_>,
) -> Option<N> {
    let (low, high) = (range.start(), range.end());
    let Some(integer) = value.get_ref().as_integer() else {
        wrong_type(value, &format!("a number from {low} to {high}"), report);
        return None;
    };
    let read = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
    let fits = read
        .filter(|number| range.contains(number))
        .and_then(|number| N::try_from(number).ok());
    if fits.is_none() {
        let message = format!("{} is not from {low} to {high}", integer.as_str());
        drop(report.error(Code::BadValue, value.span(), message));
    }
    fits
}

/// What `read` makes of the elements of a list; wrong ones are reported and left out. `None` if it is no list, which is reported as not
/// being `wanted`.
pub(crate) fn elements<'v, T>(
    value: &'v Spanned<DeValue<'v>>,
    wanted: &str,
    report: &mut Report<'_>,
    mut read: impl FnMut(&'v Spanned<DeValue<'v>>, &mut Report<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(elements) = value.get_ref().as_array() else {
        wrong_type(value, wanted, report);
        return None;
    };
    let read = |element| read(element, report);
    Some(elements.iter().filter_map(read).collect())
}

/// Reports that a value is of the wrong kind.
pub(crate) fn wrong_type(value: &Spanned<DeValue<'_>>, wanted: &str, report: &mut Report<'_>) {
    let found = match value.get_ref() {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    drop(report.error(
        Code::WrongType,
        value.span(),
        format!("expected {wanted}, found {found}"),
    ));
}
