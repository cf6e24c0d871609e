//! The kernel plane on whatever kernel this is, as far as no SA is needed: the `ip` program says what the kernel has.
//!
//! Needs root, and a kernel with XFRM; ESP or not. What needs ESP is in `tests/kernel_xfrm`.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::process::Command;
use std::thread;

use crypto::{Encryption, Secret, Suite};
use nix::sched::{CloneFlags, unshare};
use vti::kernel_plane::{KernelPlane, Wanted, clear, probe};
use vti::plane::{
    Binding, DataPlane as _, Encap, Error, Offload, PlaneEvent, SaSpec, TunnelId, TunnelSpec,
};
use vti::user::{UserPlane, UserPlaneConfig};

const NUMBER: u32 = 0xca05_0003;

/// Runs `test` in a new network namespace, which goes away with it.
fn in_namespace<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    let outcome = thread::scope(|scope| {
        let inside = scope.spawn(|| {
            let made = unshare(CloneFlags::CLONE_NEWNET);
            assert!(
                made.is_ok(),
                "these tests make network namespaces: run as root"
            );
            assert!(ip("link set lo up").0);
            test()
        });
        inside.join()
    });
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn ip(arguments: &str) -> (bool, String) {
    let output = Command::new("ip")
        .args(arguments.split_ascii_whitespace())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn spec(binding: Binding) -> TunnelSpec {
    TunnelSpec {
        id: TunnelId(3),
        interface: "ipsec3".into(),
        mss_clamp: true,
        replay_window: 1024,
        outer_mtu: 1500,
        copy_dscp: false,
        binding: Some(binding),
        offload: Offload::Off,
    }
}

fn plane() -> (KernelPlane, tokio::sync::mpsc::Receiver<PlaneEvent>) {
    let (sender, events) = tokio::sync::mpsc::channel(64);
    let plane = KernelPlane::new(&UserPlaneConfig::default(), None, sender).unwrap();
    (plane, events)
}

fn gcm() -> Suite {
    Suite::new(Encryption::AesGcm256, None).unwrap()
}

/// Whether this kernel has ESP with AES-GCM, as another program finds out.
fn has_esp() -> bool {
    let key = "ab".repeat(36);
    let (added, _) = ip(&format!(
        "xfrm state add src 192.0.2.8 dst 192.0.2.9 proto esp spi 0x777 mode tunnel aead rfc4106(gcm(aes)) 0x{key} 128"
    ));
    added
}

#[test]
fn another_program_reads_the_policies_that_we_install_and_none_when_we_stop() {
    for (binding, bound) in [
        (Binding::IfId(NUMBER), "if_id 0xca050003"),
        (Binding::Mark(NUMBER), "mark 0xca050003/0xffffffff"),
    ] {
        in_namespace(|| {
            let (mut plane, _events) = plane();
            plane.add_tunnel(&spec(binding)).unwrap();
            let (_, policies) = ip("xfrm policy");
            assert_eq!(policies.matches(bound).count(), 3, "{policies}");
            assert_eq!(policies.matches("src 0.0.0.0/0 dst 0.0.0.0/0").count(), 3);
            assert_eq!(policies.matches("proto esp reqid 3 mode tunnel").count(), 2);
            for wanted in [
                "dir in priority 1",
                "dir fwd priority 1",
                "dir out action block priority 1",
            ] {
                assert!(policies.contains(wanted), "no {wanted:?} in\n{policies}");
            }
            plane.remove_tunnel(TunnelId(3)).unwrap();
            assert_eq!(ip("xfrm policy").1, "");
            plane.add_tunnel(&spec(binding)).unwrap();
            drop(plane);
            assert_eq!(ip("xfrm policy").1, "");
        });
    }
}

#[test]
fn a_policy_that_somebody_deletes_is_there_again() {
    in_namespace(|| {
        let (mut plane, mut events) = plane();
        plane.add_tunnel(&spec(Binding::IfId(NUMBER))).unwrap();
        for damage in [
            format!("xfrm policy delete src 0.0.0.0/0 dst 0.0.0.0/0 dir in if_id {NUMBER}"),
            format!(
                "xfrm policy update src 0.0.0.0/0 dst 0.0.0.0/0 dir out if_id {NUMBER} action allow"
            ),
            "xfrm policy flush".to_owned(),
        ] {
            let (done, said) = ip(&damage);
            assert!(done, "{said}");
            let event = events.blocking_recv().unwrap();
            assert!(
                matches!(event, PlaneEvent::PolicyRestored { .. }),
                "{event:?}"
            );
            let (_, policies) = ip("xfrm policy");
            assert_eq!(
                policies.matches("if_id 0xca050003").count(),
                3,
                "after {damage}\n{policies}"
            );
            assert!(
                policies.contains("dir out action block"),
                "after {damage}\n{policies}"
            );
        }
    });
}

#[test]
fn policies_of_others_stay_and_leftovers_of_ours_go() {
    in_namespace(|| {
        for (net, bound) in [
            ("10.1", ""),
            ("10.2", "if_id 5"),
            ("10.3", "if_id 0xca050009"),
        ] {
            let (done, said) = ip(&format!(
                "xfrm policy add src {net}.0.0/16 dst 10.9.0.0/16 dir out {bound} action block"
            ));
            assert!(done, "{said}");
        }
        let (mut plane, _events) = plane();
        plane.add_tunnel(&spec(Binding::IfId(NUMBER))).unwrap();
        assert_eq!(plane.sweep(), 1);
        drop(plane);
        let (_, policies) = ip("xfrm policy");
        assert!(
            policies.contains("10.1.0.0/16") && policies.contains("10.2.0.0/16"),
            "{policies}"
        );
        assert!(!policies.contains("10.3.0.0/16"), "{policies}");
    });
}

#[test]
fn clearing_takes_what_is_ours_and_says_it_in_commands_that_would_do_the_same() {
    in_namespace(|| {
        let add = "xfrm policy add src 10.3.0.0/16 dst 10.9.0.0/16 dir out action block";
        for bound in [
            "if_id 0xca050009",
            "mark 0xca05000a mask 0xffffffff",
            "if_id 9",
        ] {
            let (done, said) = ip(&format!("{add} {bound}"));
            assert!(done, "{said}");
        }
        let commands = clear().unwrap();
        let left = ip("xfrm policy").1;
        assert!(
            left.contains("if_id 0x9") && left.matches("dir out").count() == 1,
            "{left}"
        );
        assert_eq!(commands.len(), 2, "{commands:?}");
        for bound in ["if_id 0xca050009", "mark 0xca05000a mask 0xffffffff"] {
            assert!(ip(&format!("{add} {bound}")).0);
        }
        for command in commands {
            let (done, said) = ip(command.strip_prefix("ip ").unwrap());
            assert!(done, "{command}: {said}");
        }
        assert_eq!(ip("xfrm policy").1, left);
        assert_eq!(clear().unwrap(), Vec::<String>::new());
    });
}

#[test]
fn the_userspace_plane_takes_what_a_run_on_the_kernel_plane_left() {
    in_namespace(|| {
        let add = "xfrm policy add src 10.3.0.0/16 dst 10.9.0.0/16 dir out action block";
        for bound in ["if_id 0xca050009", "if_id 9"] {
            assert!(ip(&format!("{add} {bound}")).0);
        }
        let (sender, _events) = tokio::sync::mpsc::channel(64);
        let mut plane = UserPlane::new(&UserPlaneConfig::default(), sender).unwrap();
        assert_eq!(plane.sweep(), 1);
        let (_, left) = ip("xfrm policy");
        assert!(
            left.contains("if_id 0x9") && !left.contains("ca05"),
            "{left}"
        );
    });
}

#[test]
fn the_probe_says_what_another_program_finds() {
    in_namespace(|| {
        let esp = has_esp();
        assert!(ip("xfrm state flush").0);
        let wanted = Wanted {
            replay_window: 1024,
            esn: true,
        };
        let found = probe(&[gcm()], wanted);
        assert_eq!(found.xfrm, Ok(()));
        let (suite, outcome) = &found.suites[0];
        assert_eq!((*suite, outcome.is_ok()), (gcm(), esp), "{outcome:?}");
        for (kind, outcome, arguments) in [
            ("xfrm", &found.xfrm_interface, "if_id 9"),
            ("vti", &found.vti, "key 9 remote 192.0.2.9"),
        ] {
            let (has, said) = ip(&format!("link add try9 type {kind} {arguments}"));
            assert_eq!(outcome.is_ok(), has, "{outcome:?}; ip says {said}");
            let _ = ip("link delete try9");
        }
        for outcome in [outcome, &found.xfrm_interface, &found.vti] {
            if let Err(reason) = outcome {
                assert!(reason.to_string().contains("modprobe"), "{reason}");
            }
        }
        assert!(!ip("link").1.contains("causeway-probe"));
        assert_eq!(ip("xfrm state").1, "");
    });
}

#[test]
fn an_sa_that_this_kernel_cannot_have_is_refused_here_with_a_reason_and_nothing_leaves() {
    in_namespace(|| {
        let esp = has_esp();
        assert!(ip("xfrm state flush").0);
        let (mut plane, _events) = plane();
        plane.add_tunnel(&spec(Binding::Mark(NUMBER))).unwrap();
        let sa = SaSpec {
            spi: 0x1001,
            suite: gcm(),
            keymat: Secret::new(vec![1; 36]),
            integrity: Secret::default(),
            esn: true,
            encap: Encap::None,
            local: "192.0.2.1".parse().unwrap(),
            remote: "192.0.2.2".parse().unwrap(),
            limits: esp::Limits::default(),
            outlived: None,
        };
        let outcome = plane.set_outbound(TunnelId(3), sa);
        let (_, policies) = ip("xfrm policy");
        match outcome {
            Ok(()) => {
                assert!(esp);
                assert!(policies.contains("spi 0x00001001"), "{policies}");
            }
            Err(Error::Kernel(reason)) => {
                assert!(!esp, "{reason}");
                let said = reason.to_string();
                assert!(said.contains("AES-GCM") || said.contains("aes"), "{said}");
                assert!(said.contains("modprobe -a esp4 gcm seqiv"), "{said}");
                assert!(policies.contains("dir out action block"), "{policies}");
            }
            Err(other) => panic!("{other}"),
        }
    });
}
