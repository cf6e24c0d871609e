//! Certificates (RFC 5280): what is in one, whom it names, and whether a chain of them leads to an authority that we trust.
//!
//! webpki walks the chains; what it does not tell (names of every kind, validity, key usage) is read here. No clock, no file: the time
//! and the octets come in.

mod certificate;
mod credential;
mod name;
mod trust;

pub use certificate::{AlternativeName, Certificate};
pub use credential::{Credential, CredentialError};
pub use name::DistinguishedName;
pub use trust::{Trust, TrustError, Untrusted, date};

use rustls_pki_types::pem::{PemObject as _, SectionKind};

/// The DER of every block of one kind in a PEM text, or the octets themselves where they are no text: files come as either.
fn blocks(octets: &[u8], wanted: SectionKind) -> Vec<Vec<u8>> {
    if octets.first() == Some(&crate::der::tag::SEQUENCE) {
        return vec![octets.to_vec()];
    }
    <(SectionKind, Vec<u8>)>::pem_slice_iter(octets)
        .filter_map(Result::ok)
        .filter(|(kind, _)| *kind == wanted)
        .map(|(_, der)| der)
        .collect()
}
