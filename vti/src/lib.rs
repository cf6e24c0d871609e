//! The host side of the gateway: data planes, and what they need from the system.

pub mod plane;
mod sys;
pub mod user;
