//! Placeholder.

pub mod nft;
