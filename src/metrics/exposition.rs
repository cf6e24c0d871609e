//! The OpenMetrics text format, version 1.0.0: a family's metadata, then its samples, in the end `# EOF`.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// What kind of metric a family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows, from 0 when the daemon starts. Its samples have the suffix `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Always 1: what it says is in its labels. Its samples have the suffix `_info`.
    Info,
    /// One sample for each state, 1 for the present one. The label of the state has the family's name.
    StateSet,
}

impl Kind {
    /// As the format writes it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }

    /// What a sample's name has behind its family's.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::StateSet => "",
        }
    }
}

/// A metric family: samples of one name that differ in their `N` labels.
#[derive(Debug)]
pub(crate) struct Family<const N: usize> {
    /// Without the suffix of its kind.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// `seconds`, `bytes`, or empty; the name ends with it.
    pub(crate) unit: &'static str,
    pub(crate) labels: [&'static str; N],
    pub(crate) help: &'static str,
}

/// A sample's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Whole(u64),
    /// In seconds, to the millisecond.
    Seconds(Duration),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Seconds(span) => write!(f, "{}.{:03}", span.as_secs(), span.subsec_millis()),
        }
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self::Whole(number.into())
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self::Whole(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

impl From<bool> for Number {
    fn from(yes: bool) -> Self {
        Self::Whole(yes.into())
    }
}

impl From<Duration> for Number {
    fn from(span: Duration) -> Self {
        Self::Seconds(span)
    }
}

/// The text, as far as it is written.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
}

impl Exposition {
    /// Writes a family. One without samples is left out.
    pub(crate) fn family<'a, const N: usize, V, I>(&mut self, family: &Family<N>, samples: I)
    where
        V: Into<Number>,
        I: IntoIterator<Item = ([Cow<'a, str>; N], V)>,
    {
        let mut is_first = true;
        for (labels, value) in samples {
            if std::mem::take(&mut is_first) {
                self.metadata(family);
            }
            self.sample(family, &labels, value.into());
        }
    }

    /// Writes a family that has one sample, and no labels.
    pub(crate) fn single(&mut self, family: &Family<0>, value: impl Into<Number>) {
        self.family(family, [([], value)]);
    }

    /// The whole text.
    pub(crate) fn finish(mut self) -> String {
        self.text.push_str("# EOF\n");
        self.text
    }

    fn metadata<const N: usize>(&mut self, family: &Family<N>) {
        let Family {
            name,
            kind,
            unit,
            help,
            ..
        } = family;
        // Writing into a String cannot fail.
        let _ = writeln!(self.text, "# TYPE {name} {}", kind.word());
        if !unit.is_empty() {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.text, "# HELP {name} {}", escaped(help));
    }

    fn sample<const N: usize>(
        &mut self,
        family: &Family<N>,
        labels: &[Cow<'_, str>; N],
        value: Number,
    ) {
        self.text.push_str(family.name);
        self.text.push_str(family.kind.suffix());
        for (position, (name, label)) in family.labels.iter().zip(labels).enumerate() {
            let before = if position == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{name}=\"{}\"", escaped(label));
        }
        if N > 0 {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['\\', '"', '\n']) {
        return text.into();
    }
    let text = text.replace('\\', "\\\\");
    text.replace('"', "\\\"").replace('\n', "\\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKETS: Family<2> = Family {
        name: "packets",
        kind: Kind::Counter,
        unit: "",
        labels: ["tunnel", "reason"],
        help: "What was dropped.",
    };

    const UPTIME: Family<0> = Family {
        name: "uptime_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        labels: [],
        help: "How long.",
    };

    #[test]
    fn a_family_is_written_with_its_metadata_and_its_kinds_suffix() {
        let mut text = Exposition::default();
        text.family(&PACKETS, [(["a".into(), "replayed".into()], 3_u64)]);
        text.single(&UPTIME, Duration::from_millis(61_005));
        assert_eq!(
            text.finish(),
            "# TYPE packets counter\n\
             # HELP packets What was dropped.\n\
             packets_total{tunnel=\"a\",reason=\"replayed\"} 3\n\
             # TYPE uptime_seconds gauge\n\
             # UNIT uptime_seconds seconds\n\
             # HELP uptime_seconds How long.\n\
             uptime_seconds 61.005\n\
             # EOF\n"
        );
    }

    #[test]
    fn a_family_without_samples_is_left_out() {
        let mut text = Exposition::default();
        text.family(&PACKETS, Vec::<([Cow<'_, str>; 2], u64)>::new());
        assert_eq!(text.finish(), "# EOF\n");
    }

    #[test]
    fn what_would_end_a_label_is_escaped() {
        let mut text = Exposition::default();
        text.family(&PACKETS, [(["a\\b".into(), "\"x\"\n".into()], 1_u64)]);
        let expected = r#"packets_total{tunnel="a\\b",reason="\"x\"\n"} 1"#;
        assert!(text.finish().contains(expected));
    }
}
