//! Runs a script in a virtual machine, for trying things out: `cargo run -p causeway-vm --example run <SCRIPT`. Arguments
//! are files of the host that the machine shall have, at the same paths.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use lab::OrFail as _;
use vm::{Boot, Payload, Vm};

fn main() -> ExitCode {
    let script = std::io::read_to_string(std::io::stdin()).or_fail("read the script");
    let payload = std::env::args()
        .skip(1)
        .fold(Payload::new(), |payload, path| payload.file(&path, &path));
    let mut vm = Vm::start(Boot::Bench, &payload);
    let started = Instant::now();
    let said = vm.run(&script, Duration::from_secs(300));
    println!("{}", said.text);
    eprintln!("after {:.2} s", started.elapsed().as_secs_f64());
    ExitCode::from(u8::try_from(said.code).unwrap_or(1))
}
