//! What attackers use: datagrams from anybody, captures to learn from and to replay, BGP spoken by hand.

pub(crate) mod datagrams;
pub(crate) mod neighbor;
