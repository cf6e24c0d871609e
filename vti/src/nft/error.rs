//! What can go wrong between us and the kernel's nf_tables.

use std::io;

use nix::errno::Errno;

use super::ruleset::RulesetError;

/// A failed operation on the firewall. A batch is atomic: after any of these the kernel's rules are what
/// they were before.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ruleset itself is wrong.
    #[error(transparent)]
    Ruleset(#[from] RulesetError),
    /// The process lacks CAP_NET_ADMIN in the user namespace that owns this network namespace.
    #[error("{doing}: not permitted; the firewall needs root or CAP_NET_ADMIN")]
    NotPermitted {
        /// What was attempted.
        doing: String,
    },
    /// The kernel has no nf_tables, or lacks the module for something that we use.
    #[error(
        "{doing}: the kernel does not support it ({}); nf_tables is needed (CONFIG_NF_TABLES, \
         CONFIG_NF_TABLES_INET, CONFIG_NFT_CT)", errno.desc()
    )]
    Unsupported {
        /// What was attempted.
        doing: String,
        /// What the kernel answered.
        errno: Errno,
    },
    /// The kernel refused a message for another reason.
    #[error("{doing}: the kernel refused it: {} ({errno:?})", errno.desc())]
    Refused {
        /// What was attempted, with the object's name.
        doing: String,
        /// What the kernel answered.
        errno: Errno,
    },
    /// The netlink socket could not be opened, written or read.
    #[error("{doing}: {source}")]
    Socket {
        /// What was attempted.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel sent something that we cannot read.
    #[error("netlink: malformed {what}")]
    Malformed {
        /// The part that did not parse.
        what: &'static str,
    },
    /// Somebody kept changing the rules while we read them.
    #[error("the nf_tables rules changed {attempts} times while they were read")]
    Unstable {
        /// How often we tried.
        attempts: u32,
    },
}

impl Error {
    /// Sorts a kernel's answer by who can do something about it.
    pub(super) fn from_errno(doing: impl Into<String>, errno: Errno) -> Self {
        let doing = doing.into();
        match errno {
            Errno::EPERM | Errno::EACCES => Self::NotPermitted { doing },
            Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT => {
                Self::Unsupported { doing, errno }
            }
            _ => Self::Refused { doing, errno },
        }
    }

    /// A socket call that failed.
    pub(super) fn from_io(doing: &'static str, source: io::Error) -> Self {
        match source.raw_os_error().map(Errno::from_raw) {
            Some(errno @ (Errno::EPERM | Errno::EACCES | Errno::EPROTONOSUPPORT)) => {
                Self::from_errno(doing, errno)
            }
            _ => Self::Socket { doing, source },
        }
    }
}
