//! UDP encapsulation (RFC 3948): IKE, ESP and NAT keepalives share port 4500.

/// What precedes an IKE message on port 4500: the SPI that no ESP packet has (RFC 3948 section
/// 2.2).
pub const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// The payload of a NAT keepalive (RFC 3948 section 2.3).
pub const KEEPALIVE: [u8; 1] = [0xff];

/// What the payload of a datagram on port 4500 is.
#[derive(Debug, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// An IKE message, without the marker.
    Ike(&'a mut [u8]),
    /// An ESP packet.
    Esp(&'a mut [u8]),
    /// A keepalive: to be ignored (RFC 3948 section 2.3).
    Keepalive,
    /// Too short to be anything.
    Runt,
}

impl<'a> Datagram<'a> {
    /// Tells the three kinds apart.
    #[must_use]
    pub fn classify(payload: &'a mut [u8]) -> Self {
        if *payload == KEEPALIVE {
            return Self::Keepalive;
        }
        match payload.first_chunk() {
            None => Self::Runt,
            Some(&NON_ESP_MARKER) => {
                Self::Ike(payload.get_mut(NON_ESP_MARKER.len()..).unwrap_or_default())
            }
            Some(_) => Self::Esp(payload),
        }
    }
}
