//! The system calls that no library offers in a safe form: the only place with `unsafe`.

pub(crate) mod datagrams;
pub(crate) mod handed;
pub(crate) mod sockopt;
pub(crate) mod tun;
