//! `[metrics]`

use std::net::SocketAddr;

use toml::Spanned;
use toml::de::DeValue;

use super::At;
use super::section::{Read, Section};
use super::value::parsed;
use crate::diagnostic::Report;

/// `[metrics]`
#[derive(Debug, Default)]
pub(crate) struct RawMetrics {
    pub(crate) listen: Option<At<SocketAddr>>,
}

impl RawMetrics {
    pub(super) fn read(section: &Section<'_>, report: &mut Report<'_>) -> Self {
        Self {
            listen: section.require("listen", report),
        }
    }
}

impl Read for SocketAddr {
    fn read(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Self> {
        let wanted = "an address and a port such as \"127.0.0.1:9469\" or \"[fd00::1]:9469\"";
        // Port 0 is any port, which nobody could ask.
        parsed(value, wanted, report, |text| {
            text.parse().ok().filter(|it: &Self| it.port() != 0)
        })
    }
}
