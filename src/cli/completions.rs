//! Completions for shells, from the command line's own description.

use std::io::{self, Write};

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Arguments, Failure};

#[derive(Args)]
pub(crate) struct CompletionsArguments {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn execute(arguments: &CompletionsArguments) -> Result<(), Failure> {
    // Into memory first: a reader that went away is no reason to panic.
    let mut text = Vec::new();
    generate(
        arguments.shell,
        &mut Arguments::command(),
        "causeway",
        &mut text,
    );
    io::stdout().write_all(&text)?;
    Ok(())
}
