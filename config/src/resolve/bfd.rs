//! A neighbor's BFD with its defaults.

use std::time::Duration;

use super::settings::Settings;
use crate::model::{Bfd, Origin};
use crate::read::{At, RawBfd};

/// What the field's other daemons default to, so that a plain `bfd = true` needs no tuning at the other end.
pub(crate) const INTERVAL: Duration = Duration::from_millis(300);
pub(crate) const MULTIPLIER: u8 = 3;

pub(super) fn bfd(raw: &Option<At<RawBfd>>, settings: &mut Settings<'_>) -> Option<Bfd> {
    let raw = &raw.as_ref()?.value;
    Some(Bfd {
        min_tx: settings.duration("bfd.min-tx", &raw.min_tx, INTERVAL, Origin::Default),
        min_rx: settings.duration("bfd.min-rx", &raw.min_rx, INTERVAL, Origin::Default),
        multiplier: settings.choose(
            "bfd.multiplier",
            &raw.multiplier,
            MULTIPLIER,
            Origin::Default,
        ),
        multihop: settings.choose("bfd.multihop", &raw.multihop, false, Origin::Default),
        passive: settings.choose("bfd.passive", &raw.passive, false, Origin::Default),
        strict: settings.choose("bfd.strict", &raw.strict, false, Origin::Default),
    })
}
