//! Stateless cookies against floods of IKE_SA_INIT (RFC 7296 section 2.6).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crypto::{CryptoRng, Prf, constant_time_eq};

use crate::wire::IkeSpi;

/// A cookie is good for one to two of these.
const ROTATION: Duration = Duration::from_secs(60);

/// Makes and checks cookies; the secret changes every minute, and the one before stays good.
#[derive(Default)]
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) struct Cookies {
    current: Option<Generation>,
    previous: Option<Generation>,
}

#[cfg_attr(feature = "explore", derive(Clone))]
struct Generation {
    version: u8,
    since: Instant,
    secret: [u8; 32],
}

impl Generation {
    /// `version | HMAC(secret, Ni | IPi | SPIi)`, much as the RFC suggests.
    fn cookie(&self, nonce: &[u8], address: IpAddr, spi: IkeSpi) -> Vec<u8> {
        let ip = match address {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let mac = Prf::HmacSha256.compute(&self.secret, &[nonce, &ip, &spi.0]);
        let mut cookie = vec![self.version];
        cookie.extend_from_slice(mac.expose());
        cookie
    }
}

impl Cookies {
    fn rotate(&mut self, now: Instant, rng: &mut dyn CryptoRng) {
        let age = self
            .current
            .as_ref()
            .map(|g| now.saturating_duration_since(g.since));
        if age.is_some_and(|age| age < ROTATION) {
            return;
        }
        let version = self
            .current
            .as_ref()
            .map_or(0, |g| g.version.wrapping_add(1));
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        self.previous = self
            .current
            .take()
            .filter(|_| age.is_some_and(|a| a < 2 * ROTATION));
        self.current = Some(Generation {
            version,
            since: now,
            secret,
        });
    }

    /// The cookie that this initiator has to bring back.
    pub(crate) fn make(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        nonce: &[u8],
        address: IpAddr,
        spi: IkeSpi,
    ) -> Vec<u8> {
        self.rotate(now, rng);
        self.current
            .as_ref()
            .map(|g| g.cookie(nonce, address, spi))
            .unwrap_or_default()
    }

    /// Whether the initiator has brought back a cookie of ours.
    pub(crate) fn check(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        cookie: &[u8],
        nonce: &[u8],
        address: IpAddr,
        spi: IkeSpi,
    ) -> bool {
        self.rotate(now, rng);
        [&self.current, &self.previous]
            .into_iter()
            .flatten()
            .any(|g| constant_time_eq(&g.cookie(nonce, address, spi), cookie))
    }
}
