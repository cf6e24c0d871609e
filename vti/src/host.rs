//! The host behind a trait, and the loop that brings it to what is desired:
//! `observe → diff → apply`.
//!
//! The daemon holds one [`Reconciler`] over [`crate::kernel::KernelHost`]. It calls
//! [`Reconciler::reconcile`] when its wishes change, and [`Reconciler::invalidate`] before that when
//! [`crate::monitor`] says that somebody else changed the host, and now and then besides: the kernel
//! removes routes and nexthop objects with an interface that goes down, and does not always say so.

use std::{collections::BTreeMap, io, path::Path};

use nix::errno::Errno;

use crate::{
    diff::{Concern, Plan, diff},
    ifname::IfName,
    linkinfo::{Fit, Make},
    observed::{LinkObserved, Observed},
    op::Op,
    plan::{Desired, LinkKind},
};

/// A host that can be looked at and changed.
pub trait Host {
    /// Looks at all that [`Observed`] has room for.
    ///
    /// # Errors
    /// The kernel can't be asked, or its answer can't be read.
    fn observe(&mut self) -> impl Future<Output = Result<Observed, Error>>;

    /// Applies the operations in order, each one whatever became of those before it, and returns as
    /// many results. Deleting what is gone already is success.
    fn apply(&mut self, ops: &[Op]) -> impl Future<Output = Vec<Result<(), Error>>>;
}

/// Why the host could not be observed or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused an operation.
    #[error("`{command}`: {errno}{}{}", with_colon(.said), with_colon(.advice))]
    Refused {
        /// The operation, as a command.
        command: String,
        /// The kernel's error number.
        errno: Errno,
        /// The kernel's explanation, where it gave one.
        said: String,
        /// What to do about it; empty if there is nothing general to say.
        advice: &'static str,
    },
    /// The kernel refused a question.
    #[error("cannot list or look up {what}: {errno}{}", with_colon(.said))]
    Unanswered {
        /// What was asked for.
        what: &'static str,
        /// The kernel's error number.
        errno: Errno,
        /// The kernel's explanation, where it gave one.
        said: String,
    },
    /// A netlink socket does not work.
    #[error("netlink socket: cannot {doing}: {errno}")]
    Socket {
        /// What was tried.
        doing: &'static str,
        /// The kernel's error number.
        errno: Errno,
    },
    /// The kernel's answer does not have the form that it should have.
    #[error("the kernel's answer about {what} can't be read: {why}")]
    Malformed {
        /// What was asked for.
        what: &'static str,
        /// What is wrong with the answer.
        why: String,
    },
    /// A file can't be read or written.
    #[error("cannot {doing} {path}: {errno}")]
    File {
        /// What was tried: `read`, `write` …
        doing: &'static str,
        /// The file.
        path: String,
        /// The kernel's error number.
        errno: Errno,
    },
    /// A network namespace can't be made, entered or removed.
    #[error("network namespace {name}: cannot {doing}: {errno}")]
    Namespace {
        /// Its name.
        name: String,
        /// What was tried.
        doing: &'static str,
        /// The kernel's error number.
        errno: Errno,
    },
    /// A name that the kernel or the file system would not take.
    #[error("`{name}` can't be the name of {what}")]
    BadName {
        /// The kind of thing.
        what: &'static str,
        /// The name.
        name: String,
    },
}

impl Error {
    pub(crate) fn refused(op: &Op, errno: Errno, said: impl Into<String>) -> Self {
        let advice = advice(op, errno);
        Self::Refused {
            command: op.to_string(),
            errno,
            said: said.into(),
            advice,
        }
    }

    pub(crate) fn file(doing: &'static str, path: &Path, error: &io::Error) -> Self {
        Self::File {
            doing,
            path: path.display().to_string(),
            errno: errno_of(error),
        }
    }

    pub(crate) fn socket(doing: &'static str, error: &io::Error) -> Self {
        Self::Socket {
            doing,
            errno: errno_of(error),
        }
    }

    /// The kernel's error number, if the kernel had a say.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. }
            | Self::Unanswered { errno, .. }
            | Self::Socket { errno, .. }
            | Self::File { errno, .. }
            | Self::Namespace { errno, .. } => Some(*errno),
            Self::Malformed { .. } | Self::BadName { .. } => None,
        }
    }
}

pub(crate) fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

fn with_colon(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

/// What a person can do about the refusals that happen in practice.
fn advice(op: &Op, errno: Errno) -> &'static str {
    match (op, errno) {
        (_, Errno::EPERM | Errno::EACCES) => "run as root or with CAP_NET_ADMIN",
        (Op::AddRoute { .. }, Errno::EEXIST) => {
            "a route that is not ours has the same prefix, metric and table: remove it, or give ours another metric"
        }
        (Op::AddLink { .. }, Errno::EOPNOTSUPP) => {
            "this kernel has no interfaces of that kind: load the module (modprobe xfrm_interface, or modprobe ip_vti), or set [daemon] data-plane = \"userspace\""
        }
        (Op::AddLink { .. } | Op::ChangeLink { .. }, Errno::EEXIST) => {
            "another interface has that name, if_id, or pair of outer addresses: see ip -d link show"
        }
        (Op::AddNexthop { .. } | Op::AddGroup { .. }, Errno::EEXIST) => {
            "another program uses nexthop ids from 210000000 on, which are ours"
        }
        (_, Errno::ENETDOWN) => "the interface is down or has no carrier",
        (_, Errno::ENETUNREACH | Errno::EHOSTUNREACH) => {
            "the gateway is not on a network of that interface"
        }
        (_, Errno::ENODEV) => "the interface does not exist",
        (Op::AddRoute { route, .. } | Op::ReplaceRoute { route, .. }, Errno::EINVAL)
            if route.prefsrc.is_some() =>
        {
            "the source address may not be one of this host's"
        }
        _ => "",
    }
}

/// What became of one reconciliation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What was done, in order.
    pub applied: Vec<Op>,
    /// What was tried in vain. It is tried again the next time.
    pub failed: Vec<(Op, Error)>,
    /// What was put off, because clearing away after a failure could cut routes that still work.
    pub deferred: Vec<Op>,
    /// What can't be had now, and why.
    pub concerns: Vec<Concern>,
    /// Interfaces that nobody had marked and that are exactly what is desired: they are taken for ours.
    pub adopted: Vec<IfName>,
}

impl Report {
    /// The host is as desired, as far as it can be now. If not, reconcile again soon: the host is
    /// looked at anew then.
    pub fn is_settled(&self) -> bool {
        self.failed.is_empty() && self.deferred.is_empty()
    }
}

/// Which interface it is, whatever is written on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    /// The one with this number.
    Number(u32),
    /// The one that we made and have not looked at since.
    Made(Option<Make>),
}

impl Identity {
    fn of(link: &LinkObserved) -> Self {
        match link.index {
            0 => Self::Made(link.make),
            index => Self::Number(index),
        }
    }

    fn is(self, link: &LinkObserved) -> bool {
        match self {
            Self::Number(index) => link.index == index,
            // Somebody may have changed it since, as far as one of its kind can be changed.
            Self::Made(make) => {
                link.make.as_ref().map(std::mem::discriminant)
                    == make.as_ref().map(std::mem::discriminant)
            }
        }
    }
}

/// Brings a host to what is desired, again and again.
///
/// Between two looks at the host it remembers what it saw and did. So a change of one route costs a
/// comparison in memory and one request, not a dump of the kernel's tables.
#[derive(Debug)]
pub struct Reconciler<H> {
    host: H,
    believed: Option<Observed>,
    /// The interfaces that are ours, so that one whose alias somebody else overwrites stays ours.
    links: BTreeMap<IfName, Identity>,
}

impl<H: Host> Reconciler<H> {
    /// Nothing is looked at before it is needed.
    pub fn new(host: H) -> Self {
        Self {
            host,
            believed: None,
            links: BTreeMap::new(),
        }
    }

    /// The host itself.
    pub fn host(&mut self) -> &mut H {
        &mut self.host
    }

    /// The host as it was seen last, with what was done since; `None` if it must be looked at anew.
    pub fn believed(&self) -> Option<&Observed> {
        self.believed.as_ref()
    }

    /// Looks at the host anew before the next plan.
    pub fn invalidate(&mut self) {
        self.believed = None;
    }

    /// What it would take, without doing it.
    ///
    /// # Errors
    /// The host can't be observed.
    pub async fn plan(&mut self, desired: &Desired) -> Result<Plan, Error> {
        let observed = match self.believed.take() {
            Some(observed) => observed,
            None => self.look().await?,
        };
        Ok(diff(self.believed.insert(observed), desired))
    }

    /// What a person would have to type for it, TUNs included, which otherwise the data plane makes. Looks at the host anew.
    ///
    /// # Errors
    /// The host can't be observed.
    pub async fn preview(&mut self, desired: &Desired) -> Result<Plan, Error> {
        let mut imagined = self.look().await?;
        let mut ops = Vec::new();
        for (&dev, want) in &desired.links {
            if want.kind != LinkKind::Tun {
                continue;
            }
            let found = imagined.links.get(&dev);
            let is_wrong =
                |link: &LinkObserved| link.is_ours() && link.fit(want.kind) == Fit::Other;
            if found.is_some_and(is_wrong) {
                ops.push(Op::DelLink { dev });
            }
            if found.is_none_or(is_wrong) {
                ops.push(Op::AddLink {
                    dev,
                    kind: want.kind,
                });
            }
        }
        for op in &ops {
            // They were made to fit what is there.
            let _ = imagined.apply(op);
        }
        let mut plan = diff(&imagined, desired);
        plan.ops.splice(..0, ops);
        Ok(plan)
    }

    async fn look(&mut self) -> Result<Observed, Error> {
        let mut observed = self.host.observe().await?;
        for (dev, link) in &mut observed.links {
            link.remembered = self.links.get(dev).is_some_and(|known| known.is(link));
        }
        self.links.clear();
        self.remember(&observed);
        Ok(observed)
    }

    /// Keeps in mind which interfaces are ours.
    fn remember(&mut self, observed: &Observed) {
        let ours = observed.links.iter().filter(|(_, link)| link.is_ours());
        self.links
            .extend(ours.map(|(dev, link)| (*dev, Identity::of(link))));
    }

    /// Does what it takes. With [`Desired::default`] that removes all that is ours and gives every
    /// sysctl back.
    ///
    /// # Errors
    /// The host can't be observed. Refused operations are no error here: they are in the report.
    pub async fn reconcile(&mut self, desired: &Desired) -> Result<Report, Error> {
        let Plan {
            ops,
            concerns,
            adopted,
        } = self.plan(desired).await?;
        let mut report = Report {
            concerns,
            adopted,
            ..Report::default()
        };
        let clearing = ops.iter().position(Op::clears_nexthop).unwrap_or(ops.len());
        let (building, clearing) = ops.split_at(clearing);
        self.apply(building, &mut report).await;
        if report.failed.is_empty() {
            self.apply(clearing, &mut report).await;
        } else {
            // Deleting a nexthop object deletes the routes that still point at it, and after a
            // failure some may.
            let (nexthops, rest): (Vec<Op>, Vec<Op>) =
                clearing.iter().cloned().partition(Op::clears_nexthop);
            report.deferred = nexthops;
            self.apply(&rest, &mut report).await;
        }
        if let Some(believed) = self.believed.take() {
            self.remember(&believed);
            self.believed = Some(believed);
        }
        if !report.is_settled() {
            self.believed = None;
        }
        Ok(report)
    }

    async fn apply(&mut self, ops: &[Op], report: &mut Report) {
        let results = self.host.apply(ops).await;
        for (op, result) in ops.iter().zip(results) {
            match result {
                Ok(()) => {
                    let agrees = |believed: &mut Observed| match believed.apply(op) {
                        Ok(()) => true,
                        Err(errno) => op.is_done_already(errno),
                    };
                    // Otherwise the host is not what it was taken for.
                    if !self.believed.as_mut().is_none_or(agrees) {
                        self.believed = None;
                    }
                    report.applied.push(op.clone());
                }
                Err(error) => report.failed.push((op.clone(), error)),
            }
        }
    }
}
