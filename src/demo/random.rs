//! Randomness from the operating system.

use std::io;

use rand::TryRng as _;
use rand::rngs::SysRng;

use super::problem::Problem;

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Random octets.
///
/// # Errors
/// The system has none to give.
pub(super) fn octets<const N: usize>() -> Result<[u8; N], Problem> {
    let mut octets = [0; N];
    let filled = SysRng.try_fill_bytes(&mut octets);
    filled.map_err(|error| Problem::system("get randomness")(io::Error::other(error)))?;
    Ok(octets)
}

/// Random letters and digits, each as likely as any other.
///
/// # Errors
/// The system has no randomness to give.
pub(super) fn letters(count: usize) -> Result<String, Problem> {
    let mut text = String::with_capacity(count);
    while text.len() < count {
        // Octets beyond the last whole alphabet would make some letters more likely.
        let whole = octets::<64>()?
            .into_iter()
            .map(usize::from)
            .filter(|octet| *octet < 4 * ALPHABET.len());
        text.extend(
            whole
                .map(|octet| char::from(ALPHABET[octet % ALPHABET.len()]))
                .take(count - text.len()),
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_as_long_as_wanted_and_never_the_same() {
        let (one, other) = (letters(48).unwrap(), letters(48).unwrap());
        assert_eq!((one.len(), other.len()), (48, 48));
        assert_ne!(one, other);
        assert!(one.bytes().all(|octet| octet.is_ascii_alphanumeric()));
    }
}
