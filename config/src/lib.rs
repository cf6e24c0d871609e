//! The site file: from TOML text to a validated [`Site`], with every problem reported at once.

pub mod model;
pub mod profile;
pub mod proposal;
mod suggest;

pub use model::Site;
