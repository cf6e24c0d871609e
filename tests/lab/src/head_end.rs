//! One end of the cloud's tunnels, played by the program that the run asks for.

use crate::connection::Connection;
use crate::daemon::Daemon;
use crate::libreswan::Libreswan;
use crate::netns::{Finished, Ns};
use crate::sa::{ChildSa, IkeSa};
use crate::strongswan::{DataPlane, StrongSwan};

/// What plays the cloud's head-ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peers {
    /// strongSwan on one of its data planes.
    StrongSwan(DataPlane),
    /// Libreswan with a VTI.
    Libreswan,
}

impl Peers {
    /// What `CAUSEWAY_LAB_PEERS` asks for: `libipsec` (which every machine has, and which is what there is without a word),
    /// `vti`, `xfrm` or `libreswan`.
    ///
    /// # Panics
    /// When it is another word.
    #[track_caller]
    #[must_use]
    pub fn asked_for() -> Self {
        match std::env::var("CAUSEWAY_LAB_PEERS").as_deref() {
            Err(_) | Ok("libipsec") => Self::StrongSwan(DataPlane::Libipsec),
            Ok("vti") => Self::StrongSwan(DataPlane::Vti),
            Ok("xfrm") => Self::StrongSwan(DataPlane::Xfrm),
            Ok("libreswan") => Self::Libreswan,
            Ok(other) => {
                panic!("CAUSEWAY_LAB_PEERS is {other:?}: expected libipsec, vti, xfrm or libreswan")
            }
        }
    }
}

/// A running head-end. Its interface is `ipsec0`, whatever it is.
#[derive(Debug)]
pub enum HeadEnd {
    /// strongSwan.
    StrongSwan(Box<StrongSwan>),
    /// Libreswan.
    Libreswan(Box<Libreswan>),
}

impl HeadEnd {
    /// Starts it in a namespace with one connection and this inside address.
    #[track_caller]
    #[must_use]
    pub fn start(peers: Peers, ns: &Ns, inside: &str, connection: Connection) -> Self {
        match peers {
            Peers::StrongSwan(plane) => Self::StrongSwan(Box::new(StrongSwan::start_on(
                plane,
                ns,
                &[inside],
                vec![connection],
            ))),
            Peers::Libreswan => Self::Libreswan(Box::new(Libreswan::start(ns, inside, connection))),
        }
    }

    /// The IKE_SAs that it has, with their children.
    #[track_caller]
    #[must_use]
    pub fn list_sas(&self) -> Vec<IkeSa> {
        match self {
            Self::StrongSwan(swan) => swan.list_sas(),
            Self::Libreswan(swan) => swan.list_sas(),
        }
    }

    /// The children that carry traffic, of all established IKE_SAs.
    #[track_caller]
    #[must_use]
    pub fn installed(&self) -> Vec<ChildSa> {
        match self {
            Self::StrongSwan(swan) => swan.installed(),
            Self::Libreswan(swan) => swan.installed(),
        }
    }

    /// Sets a child up, and its IKE_SA if there is none; gives what the program said.
    #[track_caller]
    pub fn initiate(&self, name: &str) -> Finished {
        match self {
            Self::StrongSwan(swan) => swan.initiate(name),
            Self::Libreswan(swan) => swan.initiate(),
        }
    }

    /// Starts a rekey of a CHILD_SA: watch [`HeadEnd::list_sas`] for another number.
    #[track_caller]
    pub fn rekey_child(&self, name: &str) -> Finished {
        match self {
            Self::StrongSwan(swan) => swan.rekey_child(name),
            Self::Libreswan(swan) => swan.rekey_child(),
        }
    }

    /// Starts a rekey of an IKE_SA: watch [`HeadEnd::list_sas`] for another number.
    #[track_caller]
    pub fn rekey_ike(&self, name: &str) -> Finished {
        match self {
            Self::StrongSwan(swan) => swan.rekey_ike(name),
            Self::Libreswan(swan) => swan.rekey_ike(),
        }
    }

    /// Deletes an IKE_SA with its children, telling the other side.
    #[track_caller]
    pub fn terminate(&self, name: &str) -> Finished {
        match self {
            Self::StrongSwan(swan) => swan.terminate(name),
            Self::Libreswan(swan) => swan.terminate(),
        }
    }

    /// Ends the daemon without a word to its peers, and its SAs with it.
    #[track_caller]
    pub fn kill(&mut self) {
        match self {
            Self::StrongSwan(swan) => swan.kill(),
            Self::Libreswan(swan) => swan.kill(),
        }
    }

    /// Ends the daemon without a word if it runs, and starts it again with the same configuration and no SA.
    #[track_caller]
    pub fn restart(&mut self) {
        match self {
            Self::StrongSwan(swan) => swan.restart(),
            Self::Libreswan(swan) => swan.restart(),
        }
    }

    /// What it logged, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        match self {
            Self::StrongSwan(swan) => swan.log(),
            Self::Libreswan(swan) => swan.log(),
        }
    }

    /// The process.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        match self {
            Self::StrongSwan(swan) => swan.daemon(),
            Self::Libreswan(swan) => swan.daemon(),
        }
    }
}
