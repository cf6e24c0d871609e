//! Algorithms of the wire as people write them: `aes256-sha1-modp2048`.

use std::fmt;

use crypto::{Encryption, Group, Integrity, Kem, Prf};
use serde::{Serialize, Serializer};

use crate::wire::{Proposal, Transform, TransformType};

/// A list of proposals as text: what one side offers or accepts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offer(pub Vec<String>);

impl Offer {
    /// What `proposals` of a SA payload say. Long lists are cut; the rest is counted.
    pub(crate) fn from_wire(proposals: &[Proposal]) -> Self {
        const SHOWN: usize = 8;
        let mut texts: Vec<String> = proposals.iter().take(SHOWN).map(describe).collect();
        if proposals.len() > SHOWN {
            texts.push(format!("{} more", proposals.len() - SHOWN));
        }
        Self(texts)
    }

    /// What our parameters say.
    pub(crate) fn from_ours<T: fmt::Display>(proposals: &[T]) -> Self {
        Self(proposals.iter().map(ToString::to_string).collect())
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        f.write_str(&self.0.join(", "))
    }
}

impl Serialize for Offer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// One proposal; alternatives of one kind are joined by `/`.
fn describe(proposal: &Proposal) -> String {
    let of = |kind| alternatives(&proposal.transforms, kind);
    let integrity = of(TransformType::Integrity);
    let mut parts = vec![of(TransformType::Encryption), integrity.clone()];
    let prf = of(TransformType::Prf);
    if !prf.is_empty() && prf.replace("prf", "") != integrity {
        parts.push(prf);
    }
    parts.push(of(TransformType::Group));
    let additional = (1..=7).map(|number| of(TransformType::Additional(number)));
    parts.extend(additional.filter(|text| !text.is_empty()));
    parts.push(of(TransformType::Esn));
    parts.retain(|part| !part.is_empty());
    parts.join("-")
}

/// The transforms of one kind, joined.
pub(crate) fn alternatives(transforms: &[Transform], kind: TransformType) -> String {
    let names: Vec<String> = transforms
        .iter()
        .filter(|t| t.kind == kind && !(kind == TransformType::Integrity && t.id == 0))
        .map(transform)
        .collect();
    names.join("/")
}

/// One transform.
pub(crate) fn transform(t: &Transform) -> String {
    let known = match t.kind {
        TransformType::Encryption => {
            Encryption::from_transform(t.id, t.key_bits).map(|e| e.to_string())
        }
        TransformType::Integrity => Integrity::from_id(t.id).map(|i| i.to_string()),
        TransformType::Prf => Prf::from_id(t.id).map(|p| p.to_string()),
        TransformType::Group => Some(group(t.id)),
        TransformType::Esn => Some(if t.id == 0 { "noesn" } else { "esn" }.to_owned()),
        TransformType::Additional(number) => Some(format!("ke{number}_{}", key_exchange(t.id))),
        TransformType::Other(_) => None,
    };
    known.unwrap_or_else(|| foreign(t))
}

/// An additional key exchange by its number.
fn key_exchange(id: u16) -> String {
    match Kem::from_id(id) {
        Some(kem) => kem.to_string(),
        None if id == 35 => "mlkem512".to_owned(),
        None => group(id),
    }
}

/// A group by its number, also one that we do not speak.
pub(crate) fn group(id: u16) -> String {
    if let Some(group) = Group::from_id(id) {
        return group.to_string();
    }
    match id {
        0 => "none".to_owned(),
        1 => "modp768".to_owned(),
        17 => "modp6144".to_owned(),
        18 => "modp8192".to_owned(),
        22 => "modp1024s160".to_owned(),
        23 => "modp2048s224".to_owned(),
        24 => "modp2048s256".to_owned(),
        28 => "ecp256bp".to_owned(),
        29 => "ecp384bp".to_owned(),
        30 => "ecp512bp".to_owned(),
        32 => "curve448".to_owned(),
        _ => format!("group {id}"),
    }
}

/// Algorithms that we do not speak, by the names that strongSwan and Libreswan users know.
fn foreign(t: &Transform) -> String {
    let bits = t.key_bits.map(|b| b.to_string()).unwrap_or_default();
    match (t.kind, t.id) {
        (TransformType::Encryption, 2) => "des".to_owned(),
        (TransformType::Encryption, 3) => "3des".to_owned(),
        (TransformType::Encryption, 11) => "null".to_owned(),
        (TransformType::Encryption, 13) => format!("aes{bits}ctr"),
        (TransformType::Encryption, 14) => format!("aes{bits}ccm8"),
        (TransformType::Encryption, 15) => format!("aes{bits}ccm12"),
        (TransformType::Encryption, 16) => format!("aes{bits}ccm16"),
        (TransformType::Encryption, 18) => format!("aes{bits}gcm8"),
        (TransformType::Encryption, 19) => format!("aes{bits}gcm12"),
        (TransformType::Encryption, 21) => format!("aes{bits}gmac"),
        (TransformType::Encryption, 23) => format!("camellia{bits}"),
        (TransformType::Encryption, id) => format!("encryption {id}"),
        (TransformType::Integrity | TransformType::Prf, 1) => "md5".to_owned(),
        (TransformType::Integrity, 5) | (TransformType::Prf, 4) => "aesxcbc".to_owned(),
        (TransformType::Integrity | TransformType::Prf, 8) => "aescmac".to_owned(),
        (TransformType::Integrity, id) => format!("integrity {id}"),
        (TransformType::Prf, id) => format!("prf {id}"),
        (TransformType::Other(kind), id) => format!("transform type {kind} number {id}"),
        (TransformType::Group | TransformType::Additional(_) | TransformType::Esn, id) => {
            format!("number {id}")
        }
    }
}
