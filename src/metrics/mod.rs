//! OpenMetrics: the text that Prometheus and its kin collect.
//!
//! [`catalogue`] says which metrics there are; `docs/metrics.md` is made from it. `src/gateway/view/metrics.rs` fills them in.
//! [`exposition`] writes the text, [`listener`] serves it over TCP where the site file asks for that.

pub(crate) mod catalogue;
pub(crate) mod exposition;
pub(crate) mod listener;
pub(crate) mod process;

/// The media type of the text.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
