//! Tables of others.
