//! The thread that takes IKE messages from the two ports. ESP in UDP never comes here: the kernel has taken it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use esp::Datagram;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::Socket;

use super::Shared;
use crate::sys::datagrams::{self, BATCH};
use crate::user::ike;
use crate::user::sockets::IkePorts;
use crate::user::worker::Worker;

/// The largest datagram.
const SLOT: usize = 65_536;

pub(super) struct Receiver {
    ports: Arc<IkePorts>,
    shared: Arc<Shared>,
    slots: Box<[u8]>,
}

impl Receiver {
    pub(super) fn new(ports: &Arc<IkePorts>, shared: &Arc<Shared>) -> Self {
        Self {
            ports: Arc::clone(ports),
            shared: Arc::clone(shared),
            slots: vec![0; SLOT * BATCH].into_boxed_slice(),
        }
    }

    pub(super) fn run(&mut self, worker: &Worker) -> io::Result<()> {
        let ports = Arc::clone(&self.ports);
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut polled = [
            readable(worker.as_fd()),
            readable(ports.ike.as_fd()),
            readable(ports.nat.as_fd()),
        ];
        while !worker.stopped() {
            match poll(&mut polled, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                result => result?,
            };
            let [wake, ike, nat] = polled.each_ref().map(|fd| fd.any() == Some(true));
            if wake {
                worker.look(|| Ok(()))?;
            }
            if ike {
                self.receive(&ports.ike, ports.config.ike_port, false);
            }
            if nat {
                self.receive(&ports.nat, ports.config.nat_port, true);
            }
        }
        Ok(())
    }

    fn receive(&mut self, socket: &Socket, port: u16, marked: bool) {
        let mut incoming = datagrams::incoming();
        // An error is nothing to read after all, or a pending ICMP error, which reading has cleared.
        let Ok(received) = datagrams::receive(socket.as_fd(), &mut self.slots, SLOT, &mut incoming)
        else {
            return;
        };
        for (slot, datagram) in self.slots.chunks_exact_mut(SLOT).zip(received) {
            let Some(bytes) = slot.get_mut(..datagram.len).filter(|_| !datagram.truncated) else {
                continue;
            };
            let message: &[u8] = match marked.then(|| Datagram::classify(bytes)) {
                None => bytes,
                Some(Datagram::Ike(message)) => message,
                Some(_) => continue,
            };
            let local = datagram.destination.unwrap_or(self.ports.config.bind);
            let local = SocketAddr::new(local, port);
            let dropped = &self.shared.ike_dropped;
            ike::deliver(
                &self.shared.events,
                dropped,
                local,
                datagram.source,
                message,
            );
        }
    }
}
