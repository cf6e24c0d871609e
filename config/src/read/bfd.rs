//! A neighbor's `bfd` as it was written: `true`, `false` or a table.

use std::time::Duration;

use toml::de::DeValue;

use super::section::{At, Section, wrong_type};
use crate::diagnostic::Report;
use crate::schema;

/// `[bgp.neighbor.NAME.bfd]`, or `bfd = true`
#[derive(Debug, Default)]
pub(crate) struct RawBfd {
    pub(crate) min_tx: Option<At<Duration>>,
    pub(crate) min_rx: Option<At<Duration>>,
    pub(crate) multiplier: Option<At<u8>>,
    pub(crate) multihop: Option<At<bool>>,
    pub(crate) passive: Option<At<bool>>,
    pub(crate) strict: Option<At<bool>>,
}

impl RawBfd {
    /// The neighbor's own; `None` where it has no BFD, with or without saying so.
    pub(super) fn read(
        neighbor: &Section<'_>,
        name: &str,
        report: &mut Report<'_>,
    ) -> Option<At<Self>> {
        let value = neighbor.value("bfd")?;
        let span = value.span();
        let value = match value.get_ref() {
            DeValue::Boolean(false) => return None,
            DeValue::Boolean(true) => Self::default(),
            DeValue::Table(table) => {
                let what = format!("bfd of neighbor {name}");
                let section = Section::of(table, span.clone(), what, &schema::BFD, report);
                Self {
                    min_tx: section.get("min-tx", report),
                    min_rx: section.get("min-rx", report),
                    multiplier: section.number("multiplier", 1..=255, report),
                    multihop: section.get("multihop", report),
                    passive: section.get("passive", report),
                    strict: section.get("strict", report),
                }
            }
            _ => {
                wrong_type(value, "true, false or a table of timers", report);
                return None;
            }
        };
        Some(At { value, span })
    }
}
