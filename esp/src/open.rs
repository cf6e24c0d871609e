//! Inbound processing (RFC 4303 section 3.4): an ESP packet becomes the inner packet, in place.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crypto::Opener;

use crate::packet::{Associated, HEADER_LEN, Parts, TRAILER_LEN};
use crate::{
    DropReason, Error, InnerPacket, Layout, NextHeader, ReplayWindow, SaParameters, Spi, Usage,
};

/// A security association to receive on. Shared by reference; the replay window has a lock, held
/// for some nanoseconds before and after the decryption.
#[derive(Debug)]
pub struct InboundSa {
    spi: Spi,
    suite: crypto::Suite,
    layout: Layout,
    esn: bool,
    opener: Opener,
    window: Mutex<ReplayWindow>,
    usage: Usage,
}

/// An inner packet in the caller's buffer, authentic and well formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Where the inner packet lies in the ESP packet, without padding of either kind.
    pub payload: Range<usize>,
    /// What its header says.
    pub inner: InnerPacket,
    /// Its sequence number, in full.
    pub sequence: u64,
    /// Whether the SA wants a successor by now.
    pub soft_limit: bool,
}

impl InboundSa {
    /// An SA that has received nothing. `replay_window` is in packets, see [`ReplayWindow::new`].
    ///
    /// # Errors
    /// [`Error::Keys`] if the keys do not fit the suite, [`Error::ReservedSpi`] for an SPI below
    /// 256.
    pub fn new(parameters: &SaParameters, replay_window: u32) -> Result<Self, Error> {
        let &SaParameters {
            spi,
            suite,
            esn,
            limits,
            ..
        } = parameters;
        if !spi.is_usable() {
            return Err(Error::ReservedSpi { spi });
        }
        let opener = Opener::new(suite, &parameters.keymat, &parameters.integrity)
            .map_err(|cause| Error::Keys { spi, suite, cause })?;
        Ok(Self {
            spi,
            suite,
            layout: Layout::of(suite),
            esn,
            opener,
            window: Mutex::new(ReplayWindow::new(replay_window)),
            usage: Usage::new(limits.within_sequence_space(esn)),
        })
    }

    /// The SPI that the packets carry; we chose it.
    #[must_use]
    pub const fn spi(&self) -> Spi {
        self.spi
    }

    /// The algorithms.
    #[must_use]
    pub const fn suite(&self) -> crypto::Suite {
        self.suite
    }

    /// What was received and is authentic.
    #[must_use]
    pub const fn usage(&self) -> &Usage {
        &self.usage
    }

    /// The highest sequence number received, in full; 0 before the first.
    #[must_use]
    pub fn highest_sequence(&self) -> u64 {
        self.with_window(|window| window.top())
    }

    /// Checks, decrypts and unwraps an ESP packet, which begins with its SPI.
    ///
    /// The replay window is asked before the packet is authenticated and moved only after (RFC 4303
    /// section 3.4.3), so a forged packet changes nothing but a counter. A packet that is dropped
    /// after authentication, [`DropReason::Dummy`] included, has used up its sequence number.
    ///
    /// # Errors
    /// Why the packet must be dropped. The buffer may have been changed.
    pub fn open(&self, packet: &mut [u8]) -> Result<Opened, DropReason> {
        let Parts {
            header,
            iv,
            body,
            icv,
        } = Parts::split(packet, &self.layout).ok_or(DropReason::Truncated)?;
        if body.len() % self.layout.block_len != 0 {
            return Err(DropReason::Truncated);
        }
        let [s0, s1, s2, s3, l0, l1, l2, l3] = *header;
        if u32::from_be_bytes([s0, s1, s2, s3]) != self.spi.0 {
            return Err(DropReason::UnknownSpi);
        }
        let sequence = self.check_replay(u32::from_be_bytes([l0, l1, l2, l3]))?;
        self.usage.permit()?;
        let associated = Associated::new(
            self.spi,
            sequence,
            self.esn,
            self.suite.encryption.is_aead(),
        );
        self.opener
            .open(associated.aad(), iv, body, associated.tail(), icv)
            .map_err(|_| DropReason::Authentication)?;
        self.with_window(|window| window.accept(sequence))?;

        let (payload_len, next_header) = read_trailer(body)?;
        let payload = body.get(..payload_len).ok_or(DropReason::Padding)?;
        self.usage.charge(payload.len());
        let inner = match next_header {
            NextHeader::None => return Err(DropReason::Dummy),
            NextHeader::Ipv4 | NextHeader::Ipv6 => InnerPacket::parse(payload)?,
        };
        if NextHeader::from(inner.version) != next_header {
            return Err(DropReason::InnerVersion);
        }
        // Bytes behind the inner packet are padding for traffic flow confidentiality (RFC 4303
        // section 2.7).
        let start = HEADER_LEN + self.layout.iv_len;
        Ok(Opened {
            payload: start..start + inner.total_len,
            inner,
            sequence,
            soft_limit: self.usage.soft_limit_reached(),
        })
    }

    fn check_replay(&self, low: u32) -> Result<u64, DropReason> {
        self.with_window(|window| {
            let sequence = if self.esn {
                window.infer(low)?
            } else {
                u64::from(low)
            };
            window.check(sequence)?;
            Ok(sequence)
        })
    }

    fn with_window<T>(&self, f: impl FnOnce(&mut ReplayWindow) -> T) -> T {
        // The window is consistent between any two of its operations, so a poisoned lock is
        // harmless.
        f(&mut self.window.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The payload's length and what it is, if the padding is as the RFC wants it.
fn read_trailer(body: &[u8]) -> Result<(usize, NextHeader), DropReason> {
    let (rest, &[pad_len, next_header]) = body
        .split_last_chunk::<TRAILER_LEN>()
        .ok_or(DropReason::Truncated)?;
    let payload_len = rest
        .len()
        .checked_sub(usize::from(pad_len))
        .ok_or(DropReason::Padding)?;
    let padding = rest.get(payload_len..).unwrap_or(&[]);
    if !padding
        .iter()
        .zip(1..=u8::MAX)
        .all(|(byte, value)| *byte == value)
    {
        return Err(DropReason::Padding);
    }
    Ok((payload_len, NextHeader::from_number(next_header)?))
}

#[cfg(test)]
impl InboundSa {
    /// Behaves as if this had been the highest sequence number so far.
    pub(crate) fn set_highest_sequence(&self, sequence: u64) {
        self.with_window(|window| window.accept(sequence)).unwrap();
    }
}
