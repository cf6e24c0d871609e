//! Why the kernel did not do something, in words that say what to do about it.

use crypto::Suite;
use nix::errno::Errno;

use crate::xfrm::{Refusal, algorithm};

/// Why the kernel did not do something, and what to do about it. It is always something about this host, never about the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {what}: {answer}{}{advice}", if .advice.is_empty() { "" } else { "; " })]
pub struct Reason {
    /// What it was asked for.
    pub what: String,
    /// The kernel's error number.
    pub errno: Errno,
    /// Its answer in words.
    pub answer: String,
    /// What to do; empty if there is nothing general to say.
    pub advice: String,
}

/// What was asked for, as far as the advice depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// An SA with these algorithms.
    Sa(Suite),
    /// Policies, lists, sockets.
    Xfrm,
    /// An interface of a kind.
    Interface(&'static str),
}

impl Reason {
    pub(super) fn of(what: impl Into<String>, about: About, refusal: &Refusal) -> Self {
        Self {
            what: what.into(),
            errno: refusal.errno,
            answer: refusal.to_string(),
            advice: advice(about, refusal.errno),
        }
    }
}

fn advice(about: About, errno: Errno) -> String {
    let xfrm = "this kernel has no XFRM, or its module is not loaded (modprobe xfrm_user; CONFIG_XFRM_USER)";
    match (errno, about) {
        (Errno::EPERM | Errno::EACCES, _) => {
            "CAP_NET_ADMIN is needed (run as root, or see the systemd unit)".into()
        }
        (Errno::ENOBUFS | Errno::ENOMEM, _) => {
            "the kernel has no memory for it now; it is tried again".into()
        }
        // An unknown algorithm is ENOENT or ENOSYS, an unknown protocol EPROTONOSUPPORT.
        (
            Errno::ENOENT
            | Errno::ENOSYS
            | Errno::EPROTONOSUPPORT
            | Errno::ENOPROTOOPT
            | Errno::EOPNOTSUPP
            | Errno::EAFNOSUPPORT,
            About::Sa(suite),
        ) => format!(
            "this kernel has no ESP with {suite}, or a module is not loaded (modprobe -a {}); or choose another suite, or data-plane = \"userspace\"",
            algorithm::modules(suite)
        ),
        (Errno::EINVAL, About::Sa(_)) => {
            "this kernel takes no SA like this one (window, ESN or encapsulation)".into()
        }
        (Errno::EPROTONOSUPPORT | Errno::ENOSYS | Errno::EOPNOTSUPP, About::Xfrm) => xfrm.into(),
        (Errno::EOPNOTSUPP | Errno::ENODEV, About::Interface(kind)) => {
            let (module, option) = match kind {
                "vti" => ("ip_vti", "CONFIG_NET_IPVTI"),
                _ => ("xfrm_interface", "CONFIG_XFRM_INTERFACE"),
            };
            format!("load the module (modprobe {module}; {option})")
        }
        (Errno::EEXIST, About::Sa(_)) => {
            "another program has an SA with this SPI and address; is a second IKE daemon running?"
                .into()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a refusal of the kernel's says, for the suite AES-256-GCM.
    fn said(about: About, errno: Errno) -> String {
        Reason::of("do it", about, &errno.into()).to_string()
    }

    #[test]
    fn each_refusal_says_what_to_change() {
        let gcm = Suite::new(crypto::Encryption::AesGcm256, None).unwrap();
        for (about, errno, wanted) in [
            (About::Sa(gcm), Errno::ENOENT, "modprobe -a esp4 gcm seqiv"),
            (About::Sa(gcm), Errno::ENOSYS, "data-plane"),
            (About::Sa(gcm), Errno::EPERM, "CAP_NET_ADMIN"),
            (About::Sa(gcm), Errno::ENOBUFS, "no memory"),
            (About::Sa(gcm), Errno::EEXIST, "second IKE daemon"),
            (About::Xfrm, Errno::EPROTONOSUPPORT, "modprobe xfrm_user"),
            (
                About::Interface("vti"),
                Errno::EOPNOTSUPP,
                "modprobe ip_vti",
            ),
            (
                About::Interface("xfrm"),
                Errno::EOPNOTSUPP,
                "modprobe xfrm_interface",
            ),
        ] {
            let text = said(about, errno);
            assert!(text.contains(wanted), "{errno}: {text}");
            assert!(text.starts_with("cannot do it: "), "{text}");
        }
    }
}
