//! Exponentiation modulo the primes of RFC 2409 and RFC 3526, in constant time.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U512, Uint};
use zeroize::Zeroizing;

use super::Group;
use super::primes::{MODP_1024, MODP_1536, MODP_2048, MODP_3072, MODP_4096};
use crate::Secret;

/// `base ^ exponent` modulo the group's prime, as long as the prime is: leading zeros are kept (RFC
/// 7296 §2.14). Both arguments are big-endian, and `exponent` has at most 64 octets.
///
/// `None` unless `1 < base < p - 1` (RFC 6989 §2.1): the other values would reveal the result. Also
/// `None` for a group that is not MODP and for arguments of a wrong length.
pub(super) fn power(group: Group, base: &[u8], exponent: &[u8]) -> Option<Secret> {
    match group {
        Group::Modp1024 => power_modulo(MODP_1024, base, exponent),
        Group::Modp1536 => power_modulo(MODP_1536, base, exponent),
        Group::Modp2048 => power_modulo(MODP_2048, base, exponent),
        Group::Modp3072 => power_modulo(MODP_3072, base, exponent),
        Group::Modp4096 => power_modulo(MODP_4096, base, exponent),
        Group::Ecp256 | Group::Ecp384 | Group::Ecp521 | Group::Curve25519 => None,
    }
}

fn power_modulo<const LIMBS: usize>(
    prime: Odd<Uint<LIMBS>>,
    base: &[u8],
    exponent: &[u8],
) -> Option<Secret> {
    if base.len() != Uint::<LIMBS>::BYTES {
        return None;
    }
    let base = Uint::<LIMBS>::from_be_slice(base);
    if base <= Uint::ONE || base >= prime.as_ref().wrapping_sub(&Uint::ONE) {
        return None;
    }

    let mut padded = Zeroizing::new([0; U512::BYTES]);
    let start = padded.len().checked_sub(exponent.len())?;
    padded.get_mut(start..)?.copy_from_slice(exponent);
    let bits = u32::try_from(8 * exponent.len()).ok()?;
    let exponent = Zeroizing::new(U512::from_be_slice(&*padded));

    // The prime is public, so its parameters may be found in variable time. The exponentiation
    // reveals the number of the exponent's bits, which is fixed for a group, and nothing else.
    let params = FixedMontyParams::new_vartime(prime);
    let base = FixedMontyForm::new(&base, &params);
    let power = Zeroizing::new(base.pow_bounded_exp(&*exponent, bits));
    let power = Zeroizing::new(power.retrieve());
    let octets = Zeroizing::new(power.to_be_bytes());
    Some(Secret::from_slice(octets.as_slice()))
}
