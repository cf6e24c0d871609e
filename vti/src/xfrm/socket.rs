//! The sockets: one that asks, one that listens.
//!
//! The kernel works a request off within the system call that sends it, also when it has to load a module first, so answers are
//! there when that returns: the asking socket never waits.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::{Socket as RawSocket, SocketAddr};
use nix::errno::Errno;
use zeroize::{Zeroize as _, Zeroizing};

use super::abi::{group, msg};
use super::message::Message;
use super::notice::Notice;
use super::policy::{self, DefaultActions, Policy, PolicyId, PolicySeen};
use super::state::{self, NewState, SaId, StateSeen};
pub use crate::netlink::Refusal;
use crate::netlink::{Answer, NLM_F_DUMP_INTR, answers, verdict};
use crate::plane::Binding;

const NETLINK_XFRM: isize = 6;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// Room for one datagram of answers: the kernel makes parts of a dump of up to 32 KiB.
const RECEIVE: usize = 1 << 16;

/// What the kernel may queue for the listener. A message about a state takes about a kilobyte and a half in its accounting.
const LISTEN_BUFFER: i32 = 2 << 20;

/// How often a dump is tried that the kernel calls inconsistent.
const DUMP_ATTEMPTS: usize = 5;

/// The socket that asks, in the network namespace of the thread that opened it.
pub struct Socket {
    socket: RawSocket,
    port: u32,
    sequence: u32,
    /// Answers about states contain keys.
    received: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "xfrm::Socket({})", self.port)
    }
}

impl Socket {
    /// Opens one.
    ///
    /// # Errors
    /// What the kernel says: EPROTONOSUPPORT where it has no XFRM.
    pub fn open() -> Result<Self, Refusal> {
        let set_up = || {
            let mut socket = RawSocket::new(NETLINK_XFRM)?;
            let port = socket.bind_auto()?.port_number();
            socket.set_non_blocking(true)?;
            // Without this a refusal would repeat the request, with its keys.
            socket.set_cap_ack(true)?;
            socket.set_ext_ack(true)?;
            Ok((socket, port))
        };
        let (socket, port) = set_up().map_err(|error| Refusal::of(&error))?;
        Ok(Self {
            socket,
            port,
            sequence: 0,
            received: Zeroizing::new(Vec::with_capacity(RECEIVE)),
        })
    }

    /// The number by which notifications name this socket.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Adds a state.
    ///
    /// # Errors
    /// EEXIST if there is one of its id, ENOENT or ENOSYS for an algorithm that the kernel lacks, and others.
    pub fn add_state(&mut self, state: &NewState<'_>) -> Result<(), Refusal> {
        self.execute(state.add())
    }

    /// Changes the lifetime and the encapsulation's ports of the state of this id. Keys and sequence numbers stay.
    ///
    /// # Errors
    /// ESRCH if there is none, EINVAL if only one of the two is encapsulated.
    pub fn update_state(&mut self, state: &NewState<'_>) -> Result<(), Refusal> {
        self.execute(state.update())
    }

    /// Deletes a state.
    ///
    /// # Errors
    /// ESRCH if there is none.
    pub fn delete_state(&mut self, id: SaId, binding: Binding) -> Result<(), Refusal> {
        self.execute(state::delete(id, binding))
    }

    /// Looks a state up; `None` if there is none.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn state(&mut self, id: SaId, binding: Binding) -> Result<Option<StateSeen>, Refusal> {
        let found = self.ask(state::get(id, binding), |answer| {
            match Notice::read(answer) {
                Some(Notice::StatePut(state)) => Some(*state),
                _ => None,
            }
        });
        match found {
            Err(refusal) if refusal.errno == Errno::ESRCH => Ok(None),
            found => found,
        }
    }

    /// All states, of whatever protocol and owner, without their keys.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn states(&mut self) -> Result<Vec<StateSeen>, Refusal> {
        self.dump(state::dump, |notice| match notice {
            Notice::StatePut(state) => Some(*state),
            _ => None,
        })
    }

    /// Has exactly this policy, in place of the one of its id if there is one, with no moment between them.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn put_policy(&mut self, policy: &Policy) -> Result<(), Refusal> {
        self.execute(policy.put())
    }

    /// Deletes a policy.
    ///
    /// # Errors
    /// ENOENT if there is none.
    pub fn delete_policy(&mut self, id: &PolicyId) -> Result<(), Refusal> {
        self.execute(id.delete())
    }

    /// All policies, of whatever owner, but for those of single sockets.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn policies(&mut self) -> Result<Vec<PolicySeen>, Refusal> {
        self.dump(policy::dump, |notice| match notice {
            Notice::PolicyPut(policy) => Some(*policy),
            _ => None,
        })
    }

    /// What becomes of packets that no policy selects; `None` if the kernel does not say (before Linux 5.15).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn default_actions(&mut self) -> Result<Option<DefaultActions>, Refusal> {
        let found = self.ask(policy::get_default(), |answer| {
            (answer.kind == msg::GETDEFAULT)
                .then(|| DefaultActions::read(answer.body))
                .flatten()
        });
        match found {
            Err(refusal) if refusal.errno == Errno::EINVAL => Ok(None),
            found => found,
        }
    }

    /// Sends a request that is acknowledged.
    pub(crate) fn execute(&mut self, request: Message) -> Result<(), Refusal> {
        let sequence = self.send(request)?;
        loop {
            self.receive()?;
            let answer = answers(&self.received)
                .find(|answer| answer.sequence == sequence && answer.kind == NLMSG_ERROR);
            if let Some(answer) = answer {
                return verdict(&answer);
            }
        }
    }

    /// Asks for one object.
    fn ask<T>(
        &mut self,
        request: Message,
        read: impl FnOnce(&Answer<'_>) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let sequence = self.send(request)?;
        self.receive()?;
        let answer = answers(&self.received).find(|answer| answer.sequence == sequence);
        match answer {
            Some(answer) if answer.kind == NLMSG_ERROR => verdict(&answer).map(|()| None),
            Some(answer) => Ok(read(&answer)),
            None => Err(Errno::ENODATA.into()),
        }
    }

    fn dump<T>(
        &mut self,
        request: fn() -> Message,
        read: impl Fn(Notice) -> Option<T>,
    ) -> Result<Vec<T>, Refusal> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(found) = self.dump_once(request(), &read)? {
                return Ok(found);
            }
        }
        Err(Errno::EINTR.into())
    }

    /// `None`: things changed meanwhile, so that the parts may not fit together.
    fn dump_once<T>(
        &mut self,
        request: Message,
        read: impl Fn(Notice) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Refusal> {
        let sequence = self.send(request)?;
        let mut found = Vec::new();
        let mut consistent = true;
        loop {
            self.receive()?;
            for answer in answers(&self.received).filter(|answer| answer.sequence == sequence) {
                consistent &= answer.flags & NLM_F_DUMP_INTR == 0;
                match answer.kind {
                    NLMSG_DONE | NLMSG_ERROR => {
                        return verdict(&answer).map(|()| consistent.then_some(found));
                    }
                    _ => found.extend(Notice::read(&answer).and_then(&read)),
                }
            }
        }
    }

    fn send(&mut self, mut request: Message) -> Result<u32, Refusal> {
        // What an earlier request left behind is of no interest.
        while self.receive().is_ok() {}
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = request.finish(self.sequence, self.port);
        self.socket
            .send_to(bytes, &SocketAddr::new(0, 0), 0)
            .map_err(|error| Refusal::of(&error))?;
        Ok(self.sequence)
    }

    fn receive(&mut self) -> Result<(), Refusal> {
        self.received.zeroize();
        receive(&self.socket, &mut self.received)
    }
}

fn receive(socket: &RawSocket, into: &mut Vec<u8>) -> Result<(), Refusal> {
    loop {
        match socket.recv_from(into, libc::MSG_TRUNC) {
            Ok((length, _)) if length > into.len() => return Err(Errno::EMSGSIZE.into()),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Refusal::of(&error)),
        }
    }
}

/// What a look at the listener found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// What was said, with the port of the socket that caused it: 0 if it was the kernel itself.
    pub notices: Vec<(u32, Notice)>,
    /// Whether the kernel had no room for some of it, so that only a dump can tell.
    pub overrun: bool,
}

/// The socket that listens to what is added, changed, deleted, used up and moved.
///
/// It does not listen to acquires: as long as nobody does, the kernel makes no larval state for a packet without an SA, which
/// would stand in the way of the real one.
#[derive(Debug)]
pub struct Listener {
    socket: RawSocket,
    received: Zeroizing<Vec<u8>>,
}

impl Listener {
    /// Opens one.
    ///
    /// # Errors
    /// What the kernel says: EPERM without CAP_NET_ADMIN.
    pub fn open() -> Result<Self, Refusal> {
        let set_up = || {
            let mut socket = RawSocket::new(NETLINK_XFRM)?;
            socket.bind_auto()?;
            socket.set_non_blocking(true)?;
            socket.set_rx_buf_sz(LISTEN_BUFFER)?;
            for group in [
                group::EXPIRE,
                group::SA,
                group::POLICY,
                group::MIGRATE,
                group::MAPPING,
            ] {
                socket.add_membership(group)?;
            }
            Ok(socket)
        };
        Ok(Self {
            socket: set_up().map_err(|error| Refusal::of(&error))?,
            received: Zeroizing::new(Vec::with_capacity(RECEIVE)),
        })
    }

    /// All that was said since the last look, without waiting.
    ///
    /// # Errors
    /// The socket does not work any more.
    pub fn hear(&mut self) -> Result<Heard, Refusal> {
        let mut heard = Heard::default();
        loop {
            self.received.zeroize();
            match receive(&self.socket, &mut self.received) {
                Ok(()) => {}
                Err(refusal) if refusal.errno == Errno::EAGAIN => return Ok(heard),
                Err(refusal) if matches!(refusal.errno, Errno::ENOBUFS | Errno::EMSGSIZE) => {
                    heard.overrun = true;
                    continue;
                }
                Err(refusal) => return Err(refusal),
            }
            heard.notices.extend(
                answers(&self.received)
                    .filter_map(|answer| Some((answer.port, Notice::read(&answer)?))),
            );
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
