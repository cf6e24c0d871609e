//! The firewall against a real kernel, each test in network namespaces of its own.
//!
//! Needs root and the `nft` and `ip` programs, and fails without them.

mod foreign;
mod packets;
mod sandbox;
mod table;
mod truth;
