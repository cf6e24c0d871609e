//! ROUTE-REFRESH (RFC 2918, section 3), and what RFC 7313 made of its third octet.

use super::{Family, MessageKind, header};

/// What a ROUTE-REFRESH says, by its message subtype (RFC 7313, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshKind {
    /// 0: its receiver shall send everything again.
    Request,
    /// 1, BoRR: its sender begins to send everything again.
    Begin,
    /// 2, EoRR: its sender has sent everything again.
    End,
    /// Another one, which is ignored (RFC 7313, section 5).
    Unknown(u8),
}

impl RefreshKind {
    fn code(self) -> u8 {
        match self {
            Self::Request => 0,
            Self::Begin => 1,
            Self::End => 2,
            Self::Unknown(code) => code,
        }
    }
}

/// A ROUTE-REFRESH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRefresh {
    /// Whose routes it is about.
    pub family: Family,
    /// What it says. Where RFC 7313 was not agreed on it is always a request, and the octet means nothing (RFC 2918,
    /// section 3).
    pub kind: RefreshKind,
}

impl RouteRefresh {
    /// That one family's routes be sent again.
    #[must_use]
    pub fn request(family: Family) -> Self {
        let kind = RefreshKind::Request;
        Self { family, kind }
    }

    /// The message.
    #[must_use]
    pub fn message(self) -> Vec<u8> {
        let [high, low] = self.family.afi.to_be_bytes();
        let body = [high, low, self.kind.code(), self.family.safi];
        header::message(MessageKind::RouteRefresh, &body)
    }

    /// Reads the body of one; `None` if it does not have four octets.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let [high, low, kind, safi] = *body else {
            return None;
        };
        let kind = match kind {
            0 => RefreshKind::Request,
            1 => RefreshKind::Begin,
            2 => RefreshKind::End,
            other => RefreshKind::Unknown(other),
        };
        let afi = u16::from_be_bytes([high, low]);
        let family = Family { afi, safi };
        Some(Self { family, kind })
    }
}
