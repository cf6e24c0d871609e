//! Two systems on a virtual clock, and one against packets made by hand.

#![expect(clippy::expect_used, reason = "tests fail by panicking")]

mod adapting;
mod by_hand;
mod endings;
mod rough;
mod world;
