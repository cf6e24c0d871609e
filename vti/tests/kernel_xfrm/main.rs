//! The kernel plane on a real kernel: two network namespaces, a plane and an interface in each, static keys.
//!
//! Natively these tests fail with a word where the kernel has no ESP; they run in the virtual machine:
//! `cargo nextest run --test in_vm kernel_xfrm`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails where it stands"
)]

mod bed;
mod events;
mod inheritance;
mod repair;
mod traffic;
