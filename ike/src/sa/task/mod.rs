//! What an established SA does on its own: one task at a time, each one request and its response.
//!
//! A task here is queued as an intention ([`Task`]), becomes [`Active`] when its request is sent,
//! and is finished by the response. Requests of the peer are answered in the same files.

pub(crate) mod child;
pub(crate) mod collision;
pub(crate) mod delete;
pub(crate) mod mobike;
pub(crate) mod rekey_child;
pub(crate) mod rekey_ike;

use std::net::SocketAddr;

use super::Turn;
use super::established::Established;
use crate::child::Child;
use crate::wire::{Delete, Exchange, Payload, Protocol};

/// What is to be done. The order is that of urgency; equal tasks are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Task {
    /// Delete the IKE SA.
    DeleteIke,
    /// Tell the peer where we are.
    UpdateAddresses,
    /// Have the peer show that it is where it says.
    CheckRoute,
    /// Delete the child with this inbound SPI of ours.
    DeleteChild(u32),
    /// Make a new child.
    CreateChild,
    /// Replace the child with this inbound SPI of ours.
    RekeyChild(u32),
    /// Replace the IKE SA.
    RekeyIke,
    /// Ask whether the peer lives.
    Liveness,
}

/// What our request under way is about.
#[derive(Debug)]
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) enum Active {
    CreateChild(child::Request),
    RekeyChild(rekey_child::Request),
    RekeyIke(Box<rekey_ike::Request>),
    DeleteChild(u32),
    DeleteIke,
    /// The peer is told of this address and port of ours.
    UpdateAddresses(SocketAddr),
    /// The peer has to return this.
    CheckRoute(Vec<u8>),
    Liveness,
}

impl Active {
    /// The inbound SPI that is kept for a child which does not exist yet.
    pub(crate) const fn reserved_spi(&self) -> Option<u32> {
        match self {
            Self::CreateChild(request) => Some(request.spi_in),
            Self::RekeyChild(request) => Some(request.child.spi_in),
            Self::RekeyIke(_)
            | Self::DeleteChild(_)
            | Self::DeleteIke
            | Self::UpdateAddresses(_)
            | Self::CheckRoute(_)
            | Self::Liveness => None,
        }
    }
}

impl Established {
    /// Sends the request of a task, unless it has become pointless.
    pub(crate) fn start(&mut self, turn: &mut Turn<'_>, task: Task) {
        let new_sas = self.is_usable();
        if let Task::RekeyChild(spi) | Task::DeleteChild(spi) = task
            && self
                .children
                .get(&spi)
                .is_some_and(|child| child.is_unconfirmed(turn.now))
        {
            // A request that overtakes our answer would meet CHILD_SA_NOT_FOUND.
            return self.postpone(turn, task);
        }
        match task {
            Task::DeleteIke => {
                self.queue.clear();
                self.postponed.clear();
                let delete = Delete {
                    protocol: Protocol::Ike,
                    spis: Vec::new(),
                };
                let payloads = [Payload::Delete(delete)];
                turn.request(&mut self.channel, Exchange::Informational, &payloads);
                self.active = Some(Active::DeleteIke);
            }
            Task::DeleteChild(spi) if self.children.contains_key(&spi) => {
                let delete = Delete {
                    protocol: Protocol::Esp,
                    spis: vec![spi],
                };
                let payloads = [Payload::Delete(delete)];
                turn.request(&mut self.channel, Exchange::Informational, &payloads);
                self.active = Some(Active::DeleteChild(spi));
            }
            Task::CreateChild if new_sas && !self.children.values().any(Child::is_current) => {
                let request = child::Request::new(turn, &self.channel, None);
                self.send_create_child(turn, request);
            }
            Task::RekeyChild(spi) if new_sas => rekey_child::start(self, turn, spi),
            Task::RekeyIke if new_sas => rekey_ike::start(self, turn),
            Task::UpdateAddresses if new_sas => mobike::start_update(self, turn),
            Task::CheckRoute if new_sas => mobike::start_check(self, turn),
            Task::Liveness => {
                let payloads = mobike::liveness(self, turn);
                turn.request(&mut self.channel, Exchange::Informational, &payloads);
                self.active = Some(Active::Liveness);
            }
            Task::UpdateAddresses
            | Task::CheckRoute
            | Task::DeleteChild(_)
            | Task::CreateChild
            | Task::RekeyChild(_)
            | Task::RekeyIke => {}
        }
    }

    fn send_create_child(&mut self, turn: &mut Turn<'_>, request: child::Request) {
        let payloads = request.payloads(turn.connection, None);
        turn.request(&mut self.channel, Exchange::CreateChildSa, &payloads);
        self.active = Some(Active::CreateChild(request));
    }
}
