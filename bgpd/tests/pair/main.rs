//! Speakers against each other, in memory, on virtual time.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod bfd;
mod families;
mod policy;
mod ranges;
mod reflection;
mod restart;
mod routes;
mod sessions;
mod site;
mod world;
