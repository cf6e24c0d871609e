//! Network namespaces with names, as `ip netns` makes them, and what it takes to wire them up: veth
//! pairs, bridges, addresses, routes, processes. No other program is needed.
//!
//! A thread that enters a namespace never leaves it again, so each piece of work inside one gets a
//! thread of its own, which ends with it. All calls block for as long as their work takes
//! (milliseconds). Needs root.

use std::{
    fs::{self, File},
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
};

use ipnet::IpNet;
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::link::{InfoData, InfoVeth},
};

use crate::{
    host::{Error, errno_of},
    ifname::IfName,
    link::{add_address, change, errno, index_of},
};

/// Where named namespaces are, for us and for `ip netns`.
const DIRECTORY: &str = "/run/netns";
/// The namespace of the thread that looks.
const OWN: &str = "/proc/thread-self/ns/net";

/// A named network namespace of ours. Dropping it takes the name away; the namespace itself goes with
/// its last process and socket.
#[derive(Debug)]
pub struct NetNs {
    name: String,
    path: PathBuf,
    file: File,
    /// The name goes when the value does.
    owned: bool,
}

impl NetNs {
    /// Makes a namespace with loopback up.
    ///
    /// # Errors
    /// We are not root, or the name is taken or is no file name.
    pub fn create(name: &str) -> Result<Self, Error> {
        let path = path_of(name)?;
        let failed = |doing: &'static str| {
            move |errno| Error::Namespace {
                name: name.to_owned(),
                doing,
                errno,
            }
        };
        prepare_directory().map_err(failed("prepare /run/netns"))?;
        File::options()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|e| failed("take the name")(errno_of(&e)))?;
        let made = in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            mount(
                Some(OWN),
                &path,
                None::<&str>,
                MsFlags::MS_BIND,
                None::<&str>,
            )
        });
        if let Err(errno) = made {
            let _ = fs::remove_file(&path);
            return Err(failed("make it")(errno));
        }
        let mut namespace = Self::open(name)?;
        namespace.owned = true;
        namespace.up("lo")?;
        Ok(namespace)
    }

    /// A namespace that somebody else made; it keeps its name when the value is dropped.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn open(name: &str) -> Result<Self, Error> {
        let path = path_of(name)?;
        let file = File::open(&path).map_err(|e| Error::Namespace {
            name: name.to_owned(),
            doing: "open it",
            errno: errno_of(&e),
        })?;
        Ok(Self {
            name: name.to_owned(),
            path,
            file,
            owned: false,
        })
    }

    /// Takes away the name of a namespace, whoever made it: for what a killed run left behind.
    ///
    /// # Errors
    /// There is no such name, or we are not root.
    pub fn delete(name: &str) -> Result<(), Error> {
        let path = path_of(name)?;
        remove(&path).map_err(|errno| Error::Namespace {
            name: name.to_owned(),
            doing: "delete it",
            errno,
        })
    }

    /// The names that begin with `prefix`, sorted.
    pub fn names(prefix: &str) -> Vec<String> {
        let entries = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
        names.sort();
        names
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it, as `setns` and `nsenter --net=` take it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the name in place when the value is dropped.
    pub fn keep(&mut self) {
        self.owned = false;
    }

    /// Runs a closure on a thread inside the namespace, and waits for it. Sockets that it opens
    /// belong to the namespace for good, also when they are used elsewhere afterwards.
    ///
    /// # Errors
    /// The namespace can't be entered. A panic of the closure goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        in_thread(|| setns(&self.file, CloneFlags::CLONE_NEWNET).map(|()| work()))
            .map_err(|errno| self.failed("enter it", errno))
    }

    /// As [`NetNs::run`], for a future: it runs on a tokio runtime of its own, with I/O and time.
    ///
    /// # Errors
    /// The namespace can't be entered, or the runtime can't be made.
    pub fn block_on<F: Future>(&self, work: impl FnOnce() -> F + Send) -> Result<F::Output, Error>
    where
        F::Output: Send,
    {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.map(|runtime| runtime.block_on(async { work().await }))
        })?
        .map_err(|e| self.failed("start a runtime in it", errno_of(&e)))
    }

    /// Starts a process inside the namespace.
    ///
    /// # Errors
    /// The namespace can't be entered, or the program can't be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Child, Error> {
        // A child inherits the namespace of the thread that starts it.
        self.run(|| command.spawn())?
            .map_err(|e| self.failed("start a program in it", errno_of(&e)))
    }

    /// Joins two namespaces (or one to itself) by a pair of veth interfaces, both up.
    ///
    /// # Errors
    /// A name is taken or invalid.
    pub fn veth(&self, here: &str, there: (&Self, &str)) -> Result<(), Error> {
        use std::os::fd::AsRawFd as _;
        let (other, other_name) = there;
        let (near, far) = (if_name(here)?, if_name(other_name)?);
        let target = other.file.as_raw_fd();
        self.netlink("join it to another", async |handle| {
            // The peer is born in its namespace, where its name may be one that is taken here.
            let peer = LinkUnspec::new_with_name(far.as_str())
                .setns_by_fd(target)
                .build();
            let pair = LinkVeth::new(near.as_str(), far.as_str())
                .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
                .build();
            handle
                .link()
                .add(pair)
                .execute()
                .await
                .map_err(|e| errno(&e))
        })?;
        self.up(here)?;
        other.up(other_name)
    }

    /// Makes a bridge of these interfaces, and brings all up.
    ///
    /// # Errors
    /// The name is taken, or an interface is missing.
    pub fn bridge(&self, name: &str, ports: &[&str]) -> Result<(), Error> {
        let bridge = if_name(name)?;
        let ports = ports
            .iter()
            .map(|port| if_name(port))
            .collect::<Result<Vec<_>, _>>()?;
        self.netlink("make a bridge", async |handle| {
            let message = LinkBridge::new(bridge.as_str()).up().build();
            handle
                .link()
                .add(message)
                .execute()
                .await
                .map_err(|e| errno(&e))?;
            let controller = index_of(bridge)?;
            for port in ports {
                change(&handle, port, |link| link.controller(controller).up()).await?;
            }
            Ok(())
        })
    }

    /// Brings an interface up.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn up(&self, dev: &str) -> Result<(), Error> {
        let dev = if_name(dev)?;
        self.netlink("bring an interface up", async |handle| {
            change(&handle, dev, LinkMessageBuilder::up).await
        })
    }

    /// Takes an interface down: for showing what happens then.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn down(&self, dev: &str) -> Result<(), Error> {
        let dev = if_name(dev)?;
        self.netlink("take an interface down", async |handle| {
            change(&handle, dev, LinkMessageBuilder::down).await
        })
    }

    /// Sets an interface's MTU in bytes.
    ///
    /// # Errors
    /// There is no such interface, or it can't have that MTU.
    pub fn mtu(&self, dev: &str, mtu: u32) -> Result<(), Error> {
        let dev = if_name(dev)?;
        self.netlink("set an MTU", async |handle| {
            change(&handle, dev, |link| link.mtu(mtu)).await
        })
    }

    /// Puts an address on an interface.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn address(&self, dev: &str, address: IpNet) -> Result<(), Error> {
        let dev = if_name(dev)?;
        self.netlink("add an address", async |handle| {
            add_address(&handle, dev, address).await
        })
    }

    /// Adds a route by way of a gateway.
    ///
    /// # Errors
    /// The gateway can't be reached, or there is such a route.
    pub fn route(&self, prefix: IpNet, gateway: IpAddr) -> Result<(), Error> {
        let failed = |_| self.failed("add a route whose families differ", Errno::EINVAL);
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(prefix.addr(), prefix.prefix_len())
            .map_err(failed)?
            .gateway(gateway)
            .map_err(|_| self.failed("add a route whose families differ", Errno::EINVAL))?
            .build();
        self.netlink("add a route", async |handle| {
            handle
                .route()
                .add(route)
                .execute()
                .await
                .map_err(|e| errno(&e))
        })
    }

    /// Writes a kernel setting of the namespace, `net/ipv4/ip_forward` for example.
    ///
    /// # Errors
    /// There is no such setting, or it can't have that value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<(), Error> {
        let path = Path::new("/proc/sys").join(key);
        self.run(|| fs::write(&path, value))?
            .map_err(|e| Error::file("write", &path, &e))
    }

    /// Runs one piece of work over a netlink connection inside the namespace.
    fn netlink(
        &self,
        doing: &'static str,
        work: impl AsyncFnOnce(Handle) -> Result<(), Errno> + Send,
    ) -> Result<(), Error> {
        let done = self.block_on(|| async move {
            let (connection, handle, _) = rtnetlink::new_connection().map_err(|e| errno_of(&e))?;
            let driver = tokio::spawn(connection);
            let done = work(handle).await;
            driver.abort();
            done
        })?;
        done.map_err(|errno| self.failed(doing, errno))
    }

    fn failed(&self, doing: &'static str, errno: Errno) -> Error {
        Error::Namespace {
            name: self.name.clone(),
            doing,
            errno,
        }
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        if self.owned
            && let Err(errno) = remove(&self.path)
        {
            tracing::warn!(name = self.name, %errno, "network namespace not deleted");
        }
    }
}

fn if_name(name: &str) -> Result<IfName, Error> {
    name.parse().map_err(|_| Error::BadName {
        what: "an interface",
        name: name.to_owned(),
    })
}

fn path_of(name: &str) -> Result<PathBuf, Error> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        return Err(Error::BadName {
            what: "a network namespace",
            name: name.to_owned(),
        });
    }
    Ok(Path::new(DIRECTORY).join(name))
}

/// Makes `/run/netns` a shared mount, as `ip netns` does: so a name that is deleted here goes away in
/// the mount namespaces of services too, instead of being held there for ever.
fn prepare_directory() -> Result<(), Errno> {
    fs::create_dir_all(DIRECTORY).map_err(|e| errno_of(&e))?;
    let share = || {
        let flags = MsFlags::MS_SHARED | MsFlags::MS_REC;
        mount(None::<&str>, DIRECTORY, None::<&str>, flags, None::<&str>)
    };
    match share() {
        // It is not a mount point yet.
        Err(Errno::EINVAL) => {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(
                Some(DIRECTORY),
                DIRECTORY,
                None::<&str>,
                flags,
                None::<&str>,
            )?;
            share()
        }
        other => other,
    }
}

fn remove(path: &Path) -> Result<(), Errno> {
    match umount2(path, MntFlags::MNT_DETACH) {
        // A plain file of that name: a run was killed before it could mount.
        Ok(()) | Err(Errno::EINVAL) => fs::remove_file(path).map_err(|e| errno_of(&e)),
        Err(errno) => Err(errno),
    }
}

/// Runs the work on a thread of its own, which may change its namespace at will.
fn in_thread<T: Send>(work: impl FnOnce() -> Result<T, Errno> + Send) -> Result<T, Errno> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, work);
        match thread.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(e) => Err(errno_of(&e)),
        }
    })
}
