//! The elliptic curves modulo a prime of RFC 5903: a public value is `x | y`, the shared secret is
//! `x`.

use p256::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use p256::elliptic_curve::{AffinePoint, CurveArithmetic, FieldBytesSize, PublicKey, SecretKey};

use crate::Secret;

/// SEC 1 §2.3.3 begins an uncompressed point with this octet, RFC 5903 §7 leaves it out.
const UNCOMPRESSED: u8 = 4;

/// The public value of `private`, or `None` where that is 0 or not below the curve's order.
pub(super) fn public<C>(private: &[u8]) -> Option<Vec<u8>>
where
    C: CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    let private = SecretKey::<C>::from_slice(private).ok()?;
    let point = private.public_key().to_sec1_point(false);
    let (_, coordinates) = point.as_bytes().split_first()?;
    Some(coordinates.to_vec())
}

/// The x coordinate of the product, or `None` where `peer` is not a point of the curve (RFC 6989
/// §2.3).
pub(super) fn shared<C>(private: &[u8], peer: &[u8]) -> Option<Secret>
where
    C: CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    let private = SecretKey::<C>::from_slice(private).ok()?;
    let mut point = Vec::with_capacity(1 + peer.len());
    point.push(UNCOMPRESSED);
    point.extend_from_slice(peer);
    let peer = PublicKey::<C>::from_sec1_bytes(&point).ok()?;
    let shared = private.diffie_hellman(&peer);
    Some(Secret::from_slice(shared.raw_secret_bytes()))
}
