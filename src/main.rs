//! Causeway: the on-premises end of a hybrid cloud, in one daemon and one file.
//!
//! This crate is the shell around the cores: files, sockets, signals, the control API and the command line. What IKE, BGP
//! or the host reconciler decide, they decide in their own crates; `gateway` joins them and `run` turns their effects into
//! system calls. Start reading at `run.rs`.

use std::process::ExitCode;

use clap::Parser;

mod arithmetic;
mod certificates;
mod cli;
mod control;
mod demo;
mod gateway;
mod host;
mod http;
mod liveness;
mod lockout;
mod logging;
mod metrics;
mod plan;
mod plane;
mod resolver;
mod run;
mod secrets;
mod site;
mod systemd;
mod transport;

fn main() -> ExitCode {
    cli::Arguments::parse().execute()
}
