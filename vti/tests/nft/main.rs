//! The firewall against a real kernel, each test in network namespaces of its own.
//!
//! Needs root and the `nft` and `ip` programs, and fails without them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what goes wrong while a test is set up is a failure of the test"
)]

mod foreign;
mod mss;
mod packets;
mod sandbox;
mod table;
mod truth;
