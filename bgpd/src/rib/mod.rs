//! The routing tables: what peers taught us, which of it is best, and what follows for the kernel.

mod best_path;
mod next_hop;

pub use best_path::{LostBy, MultipathVerdict};
pub use next_hop::Eligibility;
