//! The userspace data plane between two network namespaces, over real sockets and TUN interfaces.
//! Needs root.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed test is told by a panic"
)]

mod bed;
mod bulk;
mod events;
mod lifecycle;
mod sizes;
mod traffic;
