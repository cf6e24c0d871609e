//! The printed commands for policies, typed by a shell and seen by the kernel, which needs no ESP for that.

use std::process::Command;

use vti::kernel_plane::{plan, plan_blindly};
use vti::plane::{Binding, TunnelId, TunnelSpec};

use crate::sandbox::{ip, sandbox, spec};

fn bound(id: u32, binding: Binding) -> TunnelSpec {
    TunnelSpec {
        binding: Some(binding),
        ..spec(TunnelId(id))
    }
}

#[test]
fn typed_policies_are_the_ones_that_are_wanted_and_those_of_nobody_go() {
    sandbox(async || {
        // Somebody else's, also one for an interface of his own.
        ip(
            "xfrm policy add src 10.9.0.0/16 dst 10.8.0.0/16 dir out tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 7 mode tunnel",
        );
        ip("xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 dir out if_id 42 action block");
        let foreign = ip("xfrm policy");
        let tunnels = [
            bound(1, Binding::IfId(0xca05_0001)),
            bound(2, Binding::Mark(0xca05_0002)),
        ];
        let commands = plan(&tunnels).unwrap();
        assert_eq!(commands, plan_blindly(&tunnels));
        run(&commands);
        assert_eq!(plan(&tunnels).unwrap(), [""; 0]);
        // What is there already stays, what is missing comes, what nobody needs goes.
        ip("xfrm policy delete src 0.0.0.0/0 dst 0.0.0.0/0 dir fwd if_id 0xca050001");
        let commands = plan(&tunnels[..1]).unwrap();
        assert_eq!(commands.len(), 1 + 3, "{commands:?}");
        run(&commands);
        run(&plan(&[]).unwrap());
        assert_eq!(ip("xfrm policy"), foreign);
    });
}

fn run(commands: &[String]) {
    for command in commands {
        let done = Command::new("sh").args(["-c", command]).output().unwrap();
        let complaint = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{command}: {complaint}");
    }
}
