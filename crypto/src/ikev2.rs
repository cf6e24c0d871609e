//! The key schedule of IKEv2 (RFC 7296 §2.13–§2.18), as functions of what was negotiated and
//! exchanged.

use crate::{Error, Prf, Secret, Suite};

/// The seven keys of an IKE SA (RFC 7296 §2.14). `i` is for the direction from the original
/// initiator, `r` for the other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkKeys {
    /// SK_d: the keys of CHILD_SAs and of the next IKE SA come from it.
    pub d: Secret,
    /// SK_ai: integrity key, initiator to responder; empty for an AEAD.
    pub ai: Secret,
    /// SK_ar: integrity key, responder to initiator; empty for an AEAD.
    pub ar: Secret,
    /// SK_ei: encryption key, initiator to responder, with the salt of an AEAD.
    pub ei: Secret,
    /// SK_er: encryption key, responder to initiator, with the salt of an AEAD.
    pub er: Secret,
    /// SK_pi: for the initiator's AUTH payload.
    pub pi: Secret,
    /// SK_pr: for the responder's AUTH payload.
    pub pr: Secret,
}

/// The keys of a CHILD_SA in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectionKeys {
    /// The encryption key, with the salt of an AEAD.
    pub keymat: Secret,
    /// The integrity key; empty for an AEAD.
    pub integrity: Secret,
}

/// The keys of a pair of CHILD_SAs. Initiator is who sent the request of the exchange that made the
/// pair, which for CREATE_CHILD_SA need not be the initiator of the IKE SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildKeys {
    /// For what the initiator sends.
    pub initiator: DirectionKeys,
    /// For what the responder sends.
    pub responder: DirectionKeys,
}

/// The keys of an IKE SA after IKE_SA_INIT (RFC 7296 §2.14). `shared` is g^ir, `ni` and `nr` the
/// nonces' data.
///
/// # Errors
///
/// [`Error::PrfPlusTooLong`], which no suite of ours reaches.
pub fn initial_keys(
    prf: Prf,
    suite: Suite,
    ni: &[u8],
    nr: &[u8],
    shared: &Secret,
    spi_i: [u8; 8],
    spi_r: [u8; 8],
) -> Result<SkKeys, Error> {
    // SKEYSEED = prf(Ni | Nr, g^ir). The whole nonces are the key: only PRFs with keys of a fixed
    // length take the first half of each, and none of ours is one.
    let nonces = concat(ni, nr);
    let skeyseed = prf.compute(nonces.expose(), &[shared.expose()]);
    sk_keys(prf, suite, &skeyseed, ni, nr, spi_i, spi_r)
}

/// The keys of an IKE SA that replaces one whose SK_d was `old_d` and whose PRF was `old_prf` (RFC
/// 7296 §2.18). The nonces, SPIs and `shared` are those of the CREATE_CHILD_SA exchange.
///
/// # Errors
///
/// [`Error::PrfPlusTooLong`], which no suite of ours reaches.
#[expect(
    clippy::too_many_arguments,
    reason = "the formula of the RFC has as many"
)]
pub fn rekeyed_keys(
    new_prf: Prf,
    suite: Suite,
    old_prf: Prf,
    old_d: &Secret,
    ni: &[u8],
    nr: &[u8],
    shared: &Secret,
    spi_i: [u8; 8],
    spi_r: [u8; 8],
) -> Result<SkKeys, Error> {
    // SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr), with the PRF of the old SA.
    let skeyseed = old_prf.compute(old_d.expose(), &[shared.expose(), ni, nr]);
    sk_keys(new_prf, suite, &skeyseed, ni, nr, spi_i, spi_r)
}

/// The keys of a pair of CHILD_SAs (RFC 7296 §2.17). `d` is SK_d and `prf` the PRF of the IKE SA;
/// `shared` is g^ir of the CREATE_CHILD_SA exchange if that had a KE payload. The nonces are those
/// of the exchange: of IKE_SA_INIT for the pair that comes with IKE_AUTH.
///
/// # Errors
///
/// [`Error::PrfPlusTooLong`], which no suite of ours reaches.
pub fn child_keys(
    prf: Prf,
    d: &Secret,
    shared: Option<&Secret>,
    ni: &[u8],
    nr: &[u8],
    suite: Suite,
) -> Result<ChildKeys, Error> {
    let shared = shared.map_or(&[][..], Secret::expose);
    let direction = suite.keymat_len() + suite.integrity_key_len();
    let keymat = prf.plus(d.expose(), &[shared, ni, nr], 2 * direction)?;
    let mut keys = KeyStream(keymat.expose());
    // Initiator to responder first; in each direction the encryption key precedes the integrity
    // key.
    Ok(ChildKeys {
        initiator: keys.direction(suite),
        responder: keys.direction(suite),
    })
}

/// SK_d, SK_pi or SK_pr with a post-quantum pre-shared key mixed in (RFC 8784 §3): `prf+(PPK, key)`, as long as `key`. The other keys of
/// the IKE SA stay as they are, and a rekeyed one has the PPK by SK_d.
///
/// # Errors
///
/// [`Error::PrfPlusTooLong`], which no key of ours reaches.
pub fn mix_ppk(prf: Prf, ppk: &Secret, key: &Secret) -> Result<Secret, Error> {
    prf.plus(ppk.expose(), &[key.expose()], key.len())
}

/// The AUTH data of the pre-shared key method (RFC 7296 §2.15). `signed_octets` is the
/// concatenation of the first message of the side that authenticates itself, the other side's
/// nonce, and [`Prf::compute`] under SK_pi or SK_pr of its ID payload's body.
///
/// Compare it with [`Secret`]'s `==`, which takes constant time.
#[must_use]
pub fn psk_auth(prf: Prf, psk: &Secret, signed_octets: &[&[u8]]) -> Secret {
    // 17 octets of ASCII, without a terminating zero.
    let padded = prf.compute(psk.expose(), &[b"Key Pad for IKEv2"]);
    prf.compute(padded.expose(), signed_octets)
}

fn sk_keys(
    prf: Prf,
    suite: Suite,
    skeyseed: &Secret,
    ni: &[u8],
    nr: &[u8],
    spi_i: [u8; 8],
    spi_r: [u8; 8],
) -> Result<SkKeys, Error> {
    let (a, e, p) = (suite.integrity_key_len(), suite.keymat_len(), prf.key_len());
    let stream = prf.plus(
        skeyseed.expose(),
        &[ni, nr, &spi_i, &spi_r],
        3 * p + 2 * a + 2 * e,
    )?;
    let mut keys = KeyStream(stream.expose());
    Ok(SkKeys {
        d: keys.take(p),
        ai: keys.take(a),
        ar: keys.take(a),
        ei: keys.take(e),
        er: keys.take(e),
        pi: keys.take(p),
        pr: keys.take(p),
    })
}

fn concat(a: &[u8], b: &[u8]) -> Secret {
    Secret::new([a, b].concat())
}

/// The rest of a `prf+` stream, from which keys are cut in order.
struct KeyStream<'a>(&'a [u8]);

impl KeyStream<'_> {
    /// The next `len` octets. The stream was made to measure, so it has them.
    fn take(&mut self, len: usize) -> Secret {
        let (key, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        Secret::from_slice(key)
    }

    fn direction(&mut self, suite: Suite) -> DirectionKeys {
        DirectionKeys {
            keymat: self.take(suite.keymat_len()),
            integrity: self.take(suite.integrity_key_len()),
        }
    }
}
