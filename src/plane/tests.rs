//! Every wish against kernels that can do more or less of it.

use config::{Source, Unseen};
use crypto::{Encryption, Secret};

use super::*;
use crate::plan::{Keys, Plan};

fn reason(what: &str) -> Reason {
    Reason {
        what: format!("use {what}"),
        answer: "No such file or directory".to_owned(),
        advice: format!("modprobe {what}"),
        errno: nix::errno::Errno::ENOENT,
    }
}

/// A kernel that lacks these: `xfrm`, `xfrm interfaces`, `vti`, or a suite by its name.
fn kernel(lacks: &[&str]) -> impl Fn(&[Suite], Wanted) -> Probe {
    move |suites, _| {
        let has = |what: &str| {
            if lacks.contains(&what) {
                Err(reason(what))
            } else {
                Ok(())
            }
        };
        Probe {
            xfrm: has("xfrm"),
            xfrm_interface: has("xfrm interfaces"),
            vti: has("vti"),
            suites: suites
                .iter()
                .map(|suite| (*suite, has(&suite.to_string())))
                .collect(),
        }
    }
}

fn site(first: &str, second: &str) -> Plan {
    let text = format!(
        r#"[gateway]
wan = "wan0"
address = "203.0.113.10"

[tunnel.a]
remote = "198.51.100.1"
psk = {{ env = "UNUSED" }}
inside = "10.1.0.0/31"
esp = ["aes256gcm16-ecp384"]
{first}

[tunnel.b]
remote = "198.51.100.2"
psk = {{ env = "UNUSED" }}
inside = "10.2.0.0/31"
esp = ["aes128gcm16-ecp384", "aes256-sha256-ecp384-esn"]
reqid = 4660
{second}
"#
    );
    let loaded = config::load(&Source::new("site.toml", &text), &Unseen);
    let site = loaded
        .site
        .unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    let key = Secret::from_slice(b"secret");
    let keys = Keys::from([
        ("a".to_owned(), key.clone().into()),
        ("b".to_owned(), key.into()),
    ]);
    Plan::of(&site, &keys).expect("the plan is made")
}

fn chosen(wish: DataPlane, lacks: &[&str]) -> Result<(PlaneKind, String), String> {
    let plan = site("", "");
    choose(wish, &plan.tunnels, kernel(lacks)).map(|choice| (choice.kind, choice.reason))
}

#[test]
fn the_kernel_is_taken_where_it_can_do_everything_and_otherwise_not() {
    for (lacks, kind, word) in [
        (&[][..], PlaneKind::Kernel, "takes every suite"),
        (&["xfrm"], PlaneKind::Userspace, "modprobe xfrm"),
        (&["vti"], PlaneKind::Kernel, "takes every suite"),
        (&["xfrm interfaces"], PlaneKind::Kernel, "takes every suite"),
        (
            &["xfrm interfaces", "vti"],
            PlaneKind::Userspace,
            "tunnel a (line 5): cannot use xfrm interfaces: ",
        ),
        (
            &["aes128gcm16"],
            PlaneKind::Userspace,
            "tunnel b (line 12): cannot use aes128gcm16: No such file",
        ),
        (
            &["aes256gcm16", "aes256-sha256"],
            PlaneKind::Userspace,
            "and 1 more",
        ),
        (&["chacha20poly1305"], PlaneKind::Kernel, "every suite"),
    ] {
        let (chosen, reason) = chosen(DataPlane::Auto, lacks).expect("auto always has a way");
        assert_eq!(chosen, kind, "{lacks:?}: {reason}");
        assert!(
            reason.contains("\"auto\"") && reason.contains(word),
            "{lacks:?}: {reason}"
        );
    }
}

#[test]
fn who_insists_on_the_kernel_is_told_everything_that_it_cannot_do() {
    let (kind, _) = chosen(DataPlane::Kernel, &[]).expect("it can");
    assert_eq!(kind, PlaneKind::Kernel);
    let refusal = chosen(DataPlane::Kernel, &["aes256gcm16", "aes256-sha256"]);
    let text = refusal.expect_err("it cannot");
    for words in [
        "tunnel a (line 5): cannot use aes256gcm16: No such file or directory; modprobe aes256gcm16",
        "tunnel b (line 12): cannot use aes256-sha256: ",
        "data-plane = \"userspace\"",
    ] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
    let text = chosen(DataPlane::Kernel, &["xfrm", "vti"]).expect_err("it cannot");
    assert_eq!(text.matches("modprobe").count(), 1, "{text}");
}

#[test]
fn who_wants_user_space_does_not_have_the_kernel_asked() {
    let plan = site("", "");
    let choice = choose(DataPlane::Userspace, &plan.tunnels, |_, _| {
        panic!("the kernel was asked")
    });
    assert_eq!(choice.expect("always").kind, PlaneKind::Userspace);
}

#[test]
fn the_kernel_is_asked_for_each_suite_once_and_for_the_most_that_any_tunnel_wants() {
    let plan = site("replay-window = 128", "replay-window = 1024");
    let mut asked = None;
    let _ = choose(DataPlane::Auto, &plan.tunnels, |suites, wanted| {
        asked = Some((suites.to_vec(), wanted));
        kernel(&[])(suites, wanted)
    });
    let (suites, wanted) = asked.expect("it was asked");
    let names: Vec<String> = suites.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["aes256gcm16", "aes128gcm16", "aes256-sha256"]);
    assert!(
        suites
            .iter()
            .any(|it| it.encryption == Encryption::AesGcm256)
    );
    assert_eq!((wanted.replay_window, wanted.esn), (1024, true));
}

fn fitted(first: &str, second: &str, lacks: &[&str], wish: DataPlane) -> Plan {
    let mut plan = site(first, second);
    let choice = choose(wish, &plan.tunnels, kernel(lacks)).expect("it can");
    choice.fit(&mut plan, |_| Some("ppp0".into()));
    plan
}

#[test]
fn each_interface_is_bound_by_a_number_made_of_its_reqid() {
    let bindings = |plan: &Plan| -> Vec<Option<Binding>> {
        plan.tunnels.iter().map(|it| it.spec.binding).collect()
    };
    let auto = fitted("", "interface-kind = \"vti\"", &[], DataPlane::Auto);
    let (a, b) = (0xca05_0001, 0xca05_1234);
    assert_eq!(
        bindings(&auto),
        [Some(Binding::IfId(a)), Some(Binding::Mark(b))]
    );
    let old = fitted("", "", &["xfrm interfaces"], DataPlane::Auto);
    assert_eq!(
        bindings(&old),
        [Some(Binding::Mark(a)), Some(Binding::Mark(b))]
    );
    let user = fitted("", "", &[], DataPlane::Userspace);
    assert_eq!(bindings(&user), [None, None]);
    for number in [a, b] {
        assert!(BINDINGS.contains(&number));
    }
}

#[test]
fn mss_is_clamped_by_a_rule_where_the_plane_does_not_do_it() {
    let off = "mss-clamp = false";
    for (first, second, wish, clamped) in [
        ("", "", DataPlane::Kernel, &["cw-a", "cw-b"][..]),
        ("", off, DataPlane::Auto, &["cw-a"]),
        (off, off, DataPlane::Kernel, &[]),
        ("", "", DataPlane::Userspace, &[]),
    ] {
        let mut plan = fitted(first, second, &[], wish);
        assert_eq!(plan.clamp_mss, clamped, "{first} {second} {wish:?}");
        let rules = plan.ruleset().expect("the site has a firewall");
        assert_eq!(rules.clamp_mss, clamped);
        let by_the_plane = |tunnel: &TunnelPlan| tunnel.spec.mss_clamp;
        assert_eq!(
            plan.tunnels.iter().all(by_the_plane),
            wish == DataPlane::Userspace
        );
        // Without a firewall of ours that chain is all that there is.
        plan.firewall = None;
        let text = plan
            .ruleset()
            .map(|rules| vti::nft::render(&rules).expect("it is valid"));
        assert_eq!(text.is_some(), !clamped.is_empty());
        if let Some(text) = text {
            assert_eq!(text.matches("chain ").count(), 1, "{text}");
            assert_eq!(text.matches("maxseg size set rt mtu").count(), 2, "{text}");
        }
    }
}

#[test]
fn offload_is_for_the_device_towards_the_peer() {
    let offload = |plan: &Plan| plan.tunnels[0].spec.offload.clone();
    let crypto = "offload = \"crypto\"";
    let device = || "wan0".to_owned();
    let named = fitted(crypto, "", &[], DataPlane::Auto);
    assert_eq!(offload(&named), Offload::Crypto { device: device() });
    let packet = fitted("offload = \"packet\"", "", &[], DataPlane::Auto);
    assert_eq!(offload(&packet), Offload::Packet { device: device() });
    assert_eq!(packet.tunnels[1].spec.offload, Offload::Off);
    let user = fitted(crypto, "", &[], DataPlane::Userspace);
    assert_eq!(offload(&user), Offload::Off);

    let mut unnamed = site(crypto, "");
    unnamed.wan = None;
    let choice = choose(DataPlane::Auto, &unnamed.tunnels, kernel(&[])).expect("it can");
    choice.fit(&mut unnamed, |_| Some("ppp0".into()));
    let device = "ppp0".to_owned();
    assert_eq!(offload(&unnamed), Offload::Crypto { device });
    choice.fit(&mut unnamed, |_| None);
    assert_eq!(offload(&unnamed), Offload::Off);
}

#[test]
fn a_reload_may_not_ask_more_of_the_kernel_than_it_can_do() {
    let few = "replay-window = 128";
    let plan = site(few, few);
    let of = |wish| choose(wish, &plan.tunnels, kernel(&[])).expect("it can");
    let lesser = kernel(&["aes256-sha256"]);
    let more = site("", few);
    let text = of(DataPlane::Auto)
        .admit(&more.tunnels, &lesser)
        .expect_err("it cannot");
    assert!(
        text.contains("tunnel b (line 12): cannot use aes256-sha256"),
        "{text}"
    );
    assert_eq!(
        of(DataPlane::Userspace).admit(&more.tunnels, &lesser),
        Ok(())
    );
    assert_eq!(
        of(DataPlane::Kernel).admit(&more.tunnels, kernel(&[])),
        Ok(())
    );
}

#[test]
fn the_kernel_is_not_asked_again_what_it_has_answered() {
    let few = "replay-window = 128";
    let (plan, more) = (site(few, few), site("", few));
    let mut choice = choose(DataPlane::Auto, &plan.tunnels, kernel(&[])).expect("it can");
    let mut asked = 0;
    let mut admit = |plan: &Plan| {
        let admitted = choice.admit(&plan.tunnels, |suites, wanted| {
            asked += 1;
            kernel(&[])(suites, wanted)
        });
        admitted.map(|()| asked)
    };
    let mut fewer = site(few, few);
    fewer.tunnels.truncate(1);
    assert_eq!(admit(&plan), Ok(0));
    assert_eq!(admit(&fewer), Ok(0));
    assert_eq!(admit(&more), Ok(1));
    assert_eq!(admit(&more), Ok(1));
}

#[test]
fn status_says_why_an_interface_is_what_it_is() {
    let plan = site("", "");
    let reason = |lacks: &[&str], kind| {
        let choice = choose(DataPlane::Auto, &plan.tunnels, kernel(lacks)).expect("it can");
        choice.interface_reason(kind)
    };
    assert!(reason(&[], InterfaceKind::Auto).ends_with("this kernel has xfrm interfaces"));
    let old = reason(&["xfrm interfaces"], InterfaceKind::Auto);
    assert!(old.contains("modprobe xfrm interfaces"), "{old}");
    assert_eq!(reason(&[], InterfaceKind::Vti), "interface-kind = \"vti\"");
}
