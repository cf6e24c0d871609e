//! The command line: one file per family of commands, one place for exit codes.
//!
//! | exit status | meaning |
//! |---|---|
//! | 0 | done; also when the reader of our output went away |
//! | 1 | it was tried and failed |
//! | 2 | the site file or the command line is wrong; nothing was touched |
//! | 3 | no daemon answers on the control socket |
//! | 4 | `plan --exit-code`: there is something to do |

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod bgp;
mod check;
pub(crate) mod client;
mod completions;
mod man;
pub(crate) mod paint;
pub(crate) mod plan;
mod status;
mod sweep;
mod verify;

/// Where the daemon listens unless the site file says otherwise.
pub(crate) const DEFAULT_SOCKET: &str = "/run/causeway/causeway.sock";

/// The on-premises end of a hybrid cloud: IKEv2 tunnels, BGP, ECMP routes and the firewall, from one file.
#[derive(Parser)]
#[command(name = "causeway", version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The daemon's control socket: /run/causeway/causeway.sock, or what the site file says for `run`.
    #[arg(long, global = true, env = "CAUSEWAY_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway in the foreground (systemd: Type=notify, SIGHUP reloads).
    Run(RunArguments),
    /// Check a site file and report every problem at once.
    Check(CheckArguments),
    /// Print what bringing this host to what the site file says would take, as commands, without doing it.
    ///
    /// Where a daemon runs with the file it is asked, so its routes count and its answer says what each tunnel and neighbor would notice
    /// of a reload. Needs no root but for what only root may see, which is named. The pre-shared keys are not read.
    Plan(PlanArguments),
    /// Say more about a diagnostic's code.
    Explain {
        /// A code such as CW0012.
        code: String,
    },
    /// Tunnels, BGP, routes and firewall at a glance.
    Status {
        #[command(flatten)]
        output: Output,
        /// Print again every second until interrupted.
        #[arg(long)]
        watch: bool,
    },
    /// Everything that is counted, as OpenMetrics text; docs/metrics.md has the metrics.
    Metrics,
    /// Every tunnel with its security associations and traffic.
    Tunnels(Output),
    /// What BGP knows.
    #[command(subcommand)]
    Bgp(BgpCommand),
    /// Read the site file again and change only what it changes.
    Reload(Output),
    /// Act on one tunnel.
    Tunnel {
        /// The tunnel's name in the site file.
        name: String,
        /// What to do with it.
        action: TunnelAction,
        #[command(flatten)]
        output: Output,
    },
    /// Take off this host what a daemon that does not come back has left: interfaces, routes, rules, kernel settings.
    Sweep,
    /// A whole hybrid cloud in network namespaces on this machine, and a tour of it (needs root).
    Demo(DemoArguments),
    /// Print a manual page: `causeway man status | man -l -`.
    Man(man::ManArguments),
    /// Print what a shell needs to complete our commands.
    Completions(completions::CompletionsArguments),
}

/// How a command prints its answer.
#[derive(Args, Clone, Copy)]
pub(crate) struct Output {
    /// Print JSON, documented in docs/status.md, instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct RunArguments {
    /// The site file.
    #[arg(
        long,
        short,
        value_name = "FILE",
        default_value = "/etc/causeway/site.toml"
    )]
    pub(crate) config: PathBuf,
}

#[derive(Args)]
pub(crate) struct CheckArguments {
    /// The site file.
    #[arg(value_name = "FILE", default_value = "/etc/causeway/site.toml")]
    pub(crate) file: PathBuf,
    /// Print the effective site, with every default filled in.
    #[arg(long)]
    pub(crate) explain: bool,
    /// Do not read the secrets that the file refers to.
    #[arg(long)]
    pub(crate) without_secrets: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct PlanArguments {
    /// The site file.
    #[arg(value_name = "FILE", default_value = "/etc/causeway/site.toml")]
    pub(crate) file: PathBuf,
    /// End with status 4 if there is something to do.
    #[arg(long)]
    pub(crate) exit_code: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct DemoArguments {
    /// Leave everything running after the tour until interrupted, to look around.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Print one JSON document at the end, instead of the tour as it goes.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum BgpCommand {
    /// One line for each neighbor.
    Summary(Output),
    /// Everything about one neighbor, why it is down included.
    Neighbor {
        /// The neighbor's name in the site file, or its address.
        name: String,
        #[command(flatten)]
        output: Output,
    },
    /// Why packets to a prefix or an address go where they go: every path and what became of it, and what the kernel does.
    Why {
        /// A prefix, or an address, which is looked up by the longest prefix that covers it.
        prefix: String,
        #[command(flatten)]
        output: Output,
    },
    /// Why a neighbor is told of a prefix, or not, and what became of the prefix if it sent it.
    WhyNot {
        /// The neighbor's name in the site file, or its address.
        neighbor: String,
        /// The prefix.
        prefix: String,
        #[command(flatten)]
        output: Output,
    },
    /// Ask a neighbor to send all its routes again. Its routes are kept, so an edited prefix list does not need this.
    Refresh {
        /// The neighbor's name in the site file, or its address.
        name: String,
        #[command(flatten)]
        output: Output,
    },
    /// End the session with a neighbor and begin a new one.
    Reset {
        /// The neighbor's name in the site file, or its address.
        name: String,
        #[command(flatten)]
        output: Output,
    },
    /// The routes, their paths and why the best one is best.
    Routes {
        /// Only this prefix.
        prefix: Option<ipnet::IpNet>,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum TunnelAction {
    /// Bring it up, and keep it up.
    Up,
    /// Take it down, and keep it down until `up` or a restart.
    Down,
    /// Rekey its CHILD_SA and its IKE_SA now.
    Rekey,
    /// Rekey its CHILD_SA alone.
    RekeyChild,
    /// Rekey its IKE_SA alone.
    RekeyIke,
    /// Rekey both now, wait, and say what was agreed or refused: a disagreement about the group (PFS) shows now and not in an hour.
    ///
    /// Ends with status 1 where an SA could not be rekeyed, or packets go out and none come back. The tunnel stays up either way.
    Verify,
}

impl TunnelAction {
    fn path(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Rekey => "rekey",
            Self::RekeyChild => "rekey-child",
            Self::RekeyIke => "rekey-ike",
            Self::Verify => "verify",
        }
    }
}

impl Arguments {
    /// Carries out the command and says how it went.
    pub(crate) fn execute(self) -> ExitCode {
        let socket = self.socket.as_deref().unwrap_or(Path::new(DEFAULT_SOCKET));
        let outcome = match self.command {
            Command::Run(arguments) => {
                crate::run::execute(&arguments.config, self.socket.as_deref())
            }
            Command::Check(arguments) => check::execute(&arguments),
            Command::Plan(arguments) => plan::execute(&arguments, self.socket.as_deref()),
            Command::Explain { code } => check::explain(&code),
            Command::Status { output, watch } => status::execute(socket, output, watch),
            Command::Metrics => status::metrics(socket),
            Command::Tunnels(output) => status::tunnels(socket, output),
            Command::Bgp(command) => bgp::execute(socket, &command),
            Command::Reload(output) => act(socket, "/v1/reload", output),
            Command::Tunnel {
                name,
                action: TunnelAction::Verify,
                output,
            } => verify::execute(socket, &name, output),
            Command::Tunnel {
                name,
                action,
                output,
            } => act(
                socket,
                &format!("/v1/tunnels/{name}/{}", action.path()),
                output,
            ),
            Command::Sweep => sweep::execute(socket),
            Command::Demo(arguments) => crate::demo::execute(arguments.keep, arguments.json),
            Command::Man(arguments) => man::execute(&arguments),
            Command::Completions(arguments) => completions::execute(&arguments),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(Failure::BrokenPipe) => ExitCode::SUCCESS,
            // What there is to do is printed already.
            Err(failure @ Failure::Changes) => failure.exit_code(),
            Err(failure) => {
                // Nothing is left to be told if standard error is gone as well.
                let _ = writeln!(io::stderr(), "causeway: {failure}");
                failure.exit_code()
            }
        }
    }
}

/// Why a command did not succeed, by what the caller may do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
    /// The site file or an argument is wrong; the diagnostics are printed already, or are the text.
    #[error("{0}")]
    Invalid(String),
    /// No daemon answers.
    #[error("{0}")]
    NoDaemon(String),
    /// There is something to do, and the caller wants to know.
    #[error("there is something to do")]
    Changes,
    /// The reader of our output is gone, which is its right.
    #[error("the output was closed")]
    BrokenPipe,
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::BrokenPipe => ExitCode::SUCCESS,
            Self::Failed(_) => ExitCode::from(1),
            Self::Invalid(_) => ExitCode::from(2),
            Self::NoDaemon(_) => ExitCode::from(3),
            Self::Changes => ExitCode::from(4),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::BrokenPipe
        } else {
            Self::Failed(error.to_string())
        }
    }
}

/// Asks the daemon to do something and prints what it says.
pub(crate) fn act(socket: &Path, path: &str, output: Output) -> Result<(), Failure> {
    let answer = client::post(socket, path)?;
    if output.json {
        return print_json(&answer);
    }
    let text = answer
        .get("message")
        .and_then(serde_json::Value::as_str)
        .unwrap_or("done");
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

/// How many there are of something whose plural has an s: `1 tunnel`, `2 tunnels`.
pub(crate) fn number(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// Prints a JSON value, pretty, with a newline.
pub(crate) fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Failure::Failed(e.to_string()))?;
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}
