//! Speakers against each other, in memory, on virtual time.

mod routes;
mod sessions;
mod site;
mod world;
