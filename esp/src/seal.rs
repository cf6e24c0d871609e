//! Outbound processing (RFC 4303 section 3.3): an inner packet becomes an ESP packet, in place.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crypto::{CryptoRng, Sealer};

use crate::packet::{Associated, Parts, TRAILER_LEN};
use crate::{DropReason, Error, Layout, NextHeader, SaParameters, Spi, Usage};

/// A security association to send on. Shared by reference; each packet takes the next sequence
/// number.
#[derive(Debug)]
pub struct OutboundSa {
    spi: Spi,
    suite: crypto::Suite,
    layout: Layout,
    esn: bool,
    sealer: Sealer,
    /// The number of the packet sent last. 64 bits without ESN as well: it never cycles.
    sequence: AtomicU64,
    usage: Usage,
}

/// An ESP packet in the caller's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Where the packet lies in the buffer.
    pub packet: Range<usize>,
    /// Whether the SA wants a successor by now.
    pub soft_limit: bool,
}

impl OutboundSa {
    /// An SA that has sent nothing.
    ///
    /// # Errors
    /// [`Error::Keys`] if the keys do not fit the suite, [`Error::ReservedSpi`] for an SPI below
    /// 256.
    pub fn new(parameters: &SaParameters) -> Result<Self, Error> {
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
        let sealer = Sealer::new(suite, &parameters.keymat, &parameters.integrity)
            .map_err(|cause| Error::Keys { spi, suite, cause })?;
        Ok(Self {
            spi,
            suite,
            layout: Layout::of(suite),
            esn,
            sealer,
            sequence: AtomicU64::new(0),
            usage: Usage::new(limits.within_sequence_space(esn)),
        })
    }

    /// The SPI that the packets carry; the peer chose it.
    #[must_use]
    pub const fn spi(&self) -> Spi {
        self.spi
    }

    /// The algorithms.
    #[must_use]
    pub const fn suite(&self) -> crypto::Suite {
        self.suite
    }

    /// What the packets look like.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// What was sent.
    #[must_use]
    pub const fn usage(&self) -> &Usage {
        &self.usage
    }

    /// The sequence number of the last packet, in full; 0 before the first.
    #[must_use]
    pub fn last_sequence(&self) -> u64 {
        self.sequence.load(Ordering::Relaxed)
    }

    /// Makes an ESP packet of the inner packet at `payload`. The buffer must have room around it:
    /// [`crate::MAX_OVERHEAD`] bytes on both sides suffice for every suite.
    ///
    /// `rng` gives the IV of CBC suites, which must be unpredictable (RFC 3602 section 3).
    /// Counter-mode suites need a unique one, and take the sequence number (RFC 4106 section 3.1,
    /// RFC 7634 section 2).
    ///
    /// # Errors
    /// [`DropReason::LifetimeOver`] and [`DropReason::SequenceExhausted`] end the SA;
    /// [`DropReason::NoRoom`] if the buffer is too small.
    pub fn seal(
        &self,
        buffer: &mut [u8],
        payload: Range<usize>,
        next_header: NextHeader,
        rng: &mut dyn CryptoRng,
    ) -> Result<Sealed, DropReason> {
        let packet = self
            .room(buffer.len(), &payload)
            .ok_or(DropReason::NoRoom)?;
        self.usage.permit()?;
        let sequence = self.next_sequence()?;
        let mut iv = [0; 16];
        let iv = iv.get_mut(..self.layout.iv_len).ok_or(DropReason::NoRoom)?;
        if self.suite.encryption.is_aead() {
            iv.copy_from_slice(&sequence.to_be_bytes());
        } else {
            rng.fill_bytes(iv);
        }
        let bytes = buffer.get_mut(packet.clone()).ok_or(DropReason::NoRoom)?;
        self.seal_with(bytes, payload.len(), next_header, sequence, iv)?;
        self.usage.charge(payload.len());
        Ok(Sealed {
            packet,
            soft_limit: self.usage.soft_limit_reached(),
        })
    }

    /// Where the packet around this payload would lie, if it fits.
    fn room(&self, buffer_len: usize, payload: &Range<usize>) -> Option<Range<usize>> {
        let payload_len = payload.end.checked_sub(payload.start)?;
        let start = payload.start.checked_sub(self.layout.header_len())?;
        let end = start.checked_add(self.layout.sealed_len(payload_len))?;
        (end <= buffer_len).then_some(start..end)
    }

    fn next_sequence(&self) -> Result<u64, DropReason> {
        let sequence = self
            .sequence
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1);
        let last = if self.esn {
            u64::MAX
        } else {
            u64::from(u32::MAX)
        };
        if sequence > last {
            Err(DropReason::SequenceExhausted)
        } else {
            Ok(sequence)
        }
    }

    /// Fills in everything around the payload, which lies behind the room for header and IV, and
    /// encrypts.
    pub(crate) fn seal_with(
        &self,
        packet: &mut [u8],
        payload_len: usize,
        next_header: NextHeader,
        sequence: u64,
        iv: &[u8],
    ) -> Result<(), DropReason> {
        let parts = Parts::split(packet, &self.layout).ok_or(DropReason::NoRoom)?;
        let [s0, s1, s2, s3] = self.spi.0.to_be_bytes();
        let [_, _, _, _, l0, l1, l2, l3] = sequence.to_be_bytes();
        *parts.header = [s0, s1, s2, s3, l0, l1, l2, l3];
        if parts.iv.len() != iv.len() {
            return Err(DropReason::NoRoom);
        }
        parts.iv.copy_from_slice(iv);
        let trailer = parts
            .body
            .get_mut(payload_len..)
            .ok_or(DropReason::NoRoom)?;
        write_trailer(trailer, next_header).ok_or(DropReason::NoRoom)?;
        let associated = Associated::new(
            self.spi,
            sequence,
            self.esn,
            self.suite.encryption.is_aead(),
        );
        self.sealer
            .seal(
                associated.aad(),
                parts.iv,
                parts.body,
                associated.tail(),
                parts.icv,
            )
            .map_err(|_| DropReason::NoRoom)
    }
}

/// Padding 1, 2, 3 …, its length, and what the payload is (RFC 4303 section 2.4 to 2.6).
fn write_trailer(trailer: &mut [u8], next_header: NextHeader) -> Option<()> {
    let pad_len = u8::try_from(trailer.len().checked_sub(TRAILER_LEN)?).ok()?;
    let (end, padding) = trailer
        .split_last_chunk_mut::<TRAILER_LEN>()
        .map(|(a, b)| (b, a))?;
    for (byte, value) in padding.iter_mut().zip(1..) {
        *byte = value;
    }
    *end = [pad_len, next_header.number()];
    Some(())
}

#[cfg(test)]
impl OutboundSa {
    /// Continues after this sequence number, as if so many packets had been sent.
    pub(crate) fn set_last_sequence(&self, sequence: u64) {
        self.sequence.store(sequence, Ordering::Relaxed);
    }
}
