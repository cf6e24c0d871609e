//! Every algorithm against answers that somebody else computed. `vectors/README.md` names the
//! sources.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod given;
mod groups;
mod key_schedule;
mod ppk;
mod rfc;
mod wycheproof;
