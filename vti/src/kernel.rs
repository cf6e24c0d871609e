//! The host that this process runs on, through netlink and `/proc/sys`.
//!
//! Interfaces and addresses change seldom and go through `rtnetlink`, one after the other. Routes and
//! nexthop objects come by the thousand and go in batches through `netlink.rs`, with a pause
//! between batches so that keepalives are not late.

use std::{collections::BTreeMap, path::PathBuf};

use nix::errno::Errno;
use tokio::task::JoinHandle;

use crate::{
    host::{Error, Host},
    ifname::IfName,
    link, linkinfo,
    netlink::{Answer, Message, Refusal, Socket},
    nexthop,
    observed::{Nexthop, Observed, RouteStyle},
    op::Op,
    plan::{Desired, Hop, NEXTHOP_IDS, ROUTE_PROTOCOL},
    route::{self, Told, Verb},
    sysctl::{Sysctl, Sysctls},
};

/// The host that this process runs on, in the network namespace of the thread that opened it. It
/// must be used on that thread: `/proc/sys/net` shows the namespace of whoever looks.
#[derive(Debug)]
pub struct KernelHost {
    bulk: Socket,
    links: rtnetlink::Handle,
    driver: JoinHandle<()>,
    sysctls: Sysctls,
    style: RouteStyle,
    has_objects: bool,
}

impl KernelHost {
    /// Opens the sockets, and finds out whether this kernel has nexthop objects. Must be called
    /// within a tokio runtime. `sysctls` says where the settings are and where originals are kept.
    ///
    /// # Errors
    /// A socket can't be opened.
    pub async fn open(sysctls: Sysctls) -> Result<Self, Error> {
        let mut bulk = Socket::open()?;
        let (connection, links, _) =
            rtnetlink::new_connection().map_err(|e| Error::socket("open it", &e))?;
        let driver = tokio::spawn(connection);
        let has_objects = nexthop::is_supported(&mut bulk).await?;
        let style = match has_objects {
            true => RouteStyle::NexthopObjects,
            false => RouteStyle::Multipath,
        };
        tracing::debug!(?style, "how routes are written on this kernel");
        Ok(Self {
            bulk,
            links,
            driver,
            sysctls,
            style,
            has_objects,
        })
    }

    /// As [`KernelHost::open`], with `/proc/sys` and a state file in that directory, for example
    /// `/run/causeway`.
    ///
    /// # Errors
    /// A socket can't be opened.
    pub async fn open_with_state_in(directory: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::open(Sysctls::new(
            "/proc/sys",
            directory.into().join("sysctl.saved"),
        ))
        .await
    }

    /// How routes are written on this kernel; worth a line in the log at start.
    pub fn style(&self) -> RouteStyle {
        self.style
    }

    /// Writes routes in the old way, whatever the kernel can.
    pub fn with_style(mut self, style: RouteStyle) -> Self {
        self.style = style;
        self
    }

    /// The number by which the kernel's notifications name our changes of routes and nexthop
    /// objects, for [`crate::monitor::Monitor::open`] to leave them out.
    pub fn port(&self) -> u32 {
        self.bulk.port()
    }

    /// The settings that are not what `desired` says, of those that the kernel tells nobody about when they change. One that does
    /// not exist is none of them. Cheap: some small files are read.
    ///
    /// # Errors
    /// A setting is there and can't be read.
    pub fn silent_changes(&self, desired: &Desired) -> Result<Vec<Sysctl>, Error> {
        let mut changed = Vec::new();
        for (&key, wanted) in &desired.sysctls {
            if key.changes_in_silence() && self.sysctls.read(key)?.is_some_and(|now| now != *wanted)
            {
                changed.push(key);
            }
        }
        Ok(changed)
    }

    fn observe_sysctls(&self, observed: &mut Observed) -> Result<(), Error> {
        let ours = observed
            .links
            .iter()
            .filter(|(_, link)| link.make.is_some() || link.is_ours());
        let per_interface = ours.flat_map(|(&dev, _)| Sysctl::of_interface(dev));
        observed.saved = self.sysctls.saved()?;
        let keys = Sysctl::GLOBAL
            .into_iter()
            .chain(Sysctl::of_new_interfaces())
            .chain(per_interface);
        let keys: Vec<Sysctl> = keys.chain(observed.saved.keys().copied()).collect();
        for key in keys {
            if let Some(value) = self.sysctls.read(key)? {
                observed.sysctls.insert(key, value);
            }
        }
        Ok(())
    }

    async fn observe_nexthops(
        &mut self,
        observed: &mut Observed,
        names: &BTreeMap<u32, IfName>,
    ) -> Result<(), Error> {
        let mut told = Vec::new();
        let collect = |answer: Option<&Answer<'_>>| match answer {
            None => told.clear(),
            Some(answer) => told.extend(nexthop::read(answer)),
        };
        self.bulk
            .dump("nexthop objects", &nexthop::dump(), collect)
            .await?;
        for told in told {
            if told.protocol == ROUTE_PROTOCOL {
                observed.nexthops.insert(told.id, as_nexthop(told, names));
            } else if NEXTHOP_IDS.contains(&told.id.0) {
                observed.foreign_nexthops.insert(told.id);
            }
        }
        Ok(())
    }

    async fn observe_routes(
        &mut self,
        observed: &mut Observed,
        names: &BTreeMap<u32, IfName>,
    ) -> Result<(), Error> {
        let (mut ours, mut foreign, mut on_link) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let collect = |answer: Option<&Answer<'_>>| {
            let Some(answer) = answer else {
                ours.clear();
                foreign.clear();
                on_link.clear();
                return;
            };
            match Told::read(answer) {
                Some(told) if told.protocol == ROUTE_PROTOCOL => {
                    ours.insert(told.key, told.observed(names));
                }
                Some(told) => {
                    foreign.insert(told.key, told.protocol);
                    on_link.extend(told.on_link().map(|index| (index, told.key.prefix)));
                }
                None => {}
            }
        };
        self.bulk.dump("routes", &route::dump(), collect).await?;
        for (index, prefix) in on_link {
            if let Some(link) = names
                .get(&index)
                .and_then(|dev| observed.links.get_mut(dev))
            {
                link.on_link.insert(prefix);
            }
        }
        (observed.routes, observed.foreign_routes) = (ours, foreign);
        Ok(())
    }

    async fn apply_bulk(&mut self, ops: &[Op]) -> Vec<Result<(), Error>> {
        let mut indices: BTreeMap<IfName, Option<u32>> = BTreeMap::new();
        let mut index_of = |dev| {
            *indices
                .entry(dev)
                .or_insert_with(|| link::index_of(dev).ok())
        };
        let written: Vec<Result<Message, Errno>> =
            ops.iter().map(|op| request(op, &mut index_of)).collect();
        let sendable: Vec<Message> = written.iter().flatten().cloned().collect();
        let mut verdicts = self.bulk.execute(&sendable).await.into_iter();
        let mut verdict = |written: Result<Message, Errno>| match written {
            Err(errno) => Err(Refusal::from(errno)),
            Ok(_) => verdicts.next().unwrap_or(Err(Errno::ENODATA.into())),
        };
        written
            .into_iter()
            .zip(ops)
            .map(|(written, op)| settle(op, verdict(written)))
            .collect()
    }

    async fn apply_single(&mut self, op: &Op) -> Result<(), Error> {
        match op {
            Op::SetSysctl { key, from, to } => self.sysctls.set(*key, from, to),
            Op::RestoreSysctl { key, to } => self.sysctls.restore(*key, to),
            Op::ForgetSysctl { key } => self.sysctls.forget(*key),
            Op::AddLink { dev, kind } => {
                let below = link::loopback().unwrap_or_default();
                self.ask_for(op, linkinfo::add(*dev, *kind, below)).await
            }
            Op::ChangeLink { dev, kind } => self.ask_for(op, linkinfo::change(*dev, *kind)).await,
            _ => match link::apply(&self.links, op).await {
                Some(verdict) => settle(op, verdict.map_err(Refusal::from)),
                None => Err(Error::refused(op, Errno::ENOSYS, "")),
            },
        }
    }
}

impl KernelHost {
    async fn ask_for(&mut self, op: &Op, request: Option<Message>) -> Result<(), Error> {
        let verdict = match request {
            Some(request) => self.bulk.execute(&[request]).await.pop(),
            None => None,
        };
        settle(op, verdict.unwrap_or(Err(Errno::EOPNOTSUPP.into())))
    }
}

impl Drop for KernelHost {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Host for KernelHost {
    async fn observe(&mut self) -> Result<Observed, Error> {
        let mut observed = Observed {
            style: self.style,
            links: link::observe(&mut self.bulk).await?,
            ..Observed::default()
        };
        self.observe_sysctls(&mut observed)?;
        let names = observed
            .links
            .iter()
            .map(|(dev, link)| (link.index, *dev))
            .collect();
        if self.has_objects {
            self.observe_nexthops(&mut observed, &names).await?;
        }
        self.observe_routes(&mut observed, &names).await?;
        Ok(observed)
    }

    async fn apply(&mut self, ops: &[Op]) -> Vec<Result<(), Error>> {
        let mut results = Vec::with_capacity(ops.len());
        for run in ops.chunk_by(|a, b| is_bulk(a) && is_bulk(b)) {
            match run {
                [op] if !is_bulk(op) => results.push(self.apply_single(op).await),
                run => results.extend(self.apply_bulk(run).await),
            }
        }
        results
    }
}

fn is_bulk(op: &Op) -> bool {
    use Op::{AddGroup, AddNexthop, AddRoute, DelNexthop, DelRoute, ReplaceGroup, ReplaceRoute};
    matches!(
        op,
        AddNexthop { .. }
            | AddGroup { .. }
            | ReplaceGroup { .. }
            | DelNexthop { .. }
            | AddRoute { .. }
            | ReplaceRoute { .. }
            | DelRoute { .. }
    )
}

/// The request for an operation on routes and nexthop objects.
fn request(op: &Op, mut index_of: impl FnMut(IfName) -> Option<u32>) -> Result<Message, Errno> {
    match op {
        Op::AddNexthop { id, hop } => Ok(nexthop::add(
            *id,
            hop,
            index_of(hop.dev).ok_or(Errno::ENODEV)?,
        )),
        Op::AddGroup { id, members } => Ok(nexthop::add_group(*id, members)),
        Op::ReplaceGroup { id, members } => Ok(nexthop::replace_group(*id, members)),
        Op::DelNexthop { id } => Ok(nexthop::delete(*id)),
        Op::AddRoute { key, route } => route::put(Verb::Add, key, route, index_of),
        Op::ReplaceRoute { key, route } => route::put(Verb::Replace, key, route, index_of),
        Op::DelRoute { key } => Ok(route::delete(key)),
        _ => Err(Errno::ENOSYS),
    }
}

fn settle(op: &Op, verdict: Result<(), Refusal>) -> Result<(), Error> {
    match verdict {
        Err(refusal) if op.is_done_already(refusal.errno) => Ok(()),
        Err(Refusal { errno, said }) => Err(Error::refused(op, errno, said)),
        Ok(()) => Ok(()),
    }
}

fn as_nexthop(told: nexthop::Told, names: &BTreeMap<u32, IfName>) -> Nexthop {
    let dev = told.index.and_then(|index| names.get(&index).copied());
    match (told.members, dev) {
        _ if told.is_special => Nexthop::Unknown,
        (Some(mut members), _) => {
            members.sort_unstable();
            Nexthop::Group(members)
        }
        (None, Some(dev)) => Nexthop::Single(Hop {
            dev,
            via: told.gateway,
            onlink: told.onlink,
        }),
        (None, None) => Nexthop::Unknown,
    }
}
