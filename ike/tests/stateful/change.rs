//! What an authentic peer might send that no peer should: changes inside a message, before it is sealed.

use ike::wire::sk::Plain;
use ike::wire::{Exchange, NotifyType, PayloadType};

use super::bytes::Bytes;

/// A payload as it is on the wire.
#[derive(Debug, Clone)]
pub struct Item {
    kind: u8,
    flags: u8,
    body: Vec<u8>,
}

/// Payloads of earlier messages, to be put into later ones; and the SPIs that were ever used.
#[derive(Default)]
pub struct Lore {
    items: Vec<Item>,
    pub spis: Vec<u32>,
}

impl Lore {
    const MOST: usize = 96;

    /// Keeps what a message holds.
    pub fn learn(&mut self, plain: &Plain) {
        if let Some(items) = take_apart(plain) {
            let room = Self::MOST.saturating_sub(self.items.len());
            self.items.extend(items.into_iter().take(room));
        }
    }

    fn spi(&self, bytes: &mut Bytes<'_>) -> [u8; 4] {
        match self.spis.len() {
            0 => [1, 2, 3, 4],
            count => self.spis[bytes.below(count)].to_be_bytes(),
        }
    }
}

const NOTIFICATIONS: [NotifyType; 16] = [
    NotifyType::REKEY_SA,
    NotifyType::INITIAL_CONTACT,
    NotifyType::TEMPORARY_FAILURE,
    NotifyType::CHILD_SA_NOT_FOUND,
    NotifyType::NO_PROPOSAL_CHOSEN,
    NotifyType::INVALID_KE_PAYLOAD,
    NotifyType::TS_UNACCEPTABLE,
    NotifyType::INVALID_SYNTAX,
    NotifyType::AUTHENTICATION_FAILED,
    NotifyType::INVALID_IKE_SPI,
    NotifyType::NO_ADDITIONAL_SAS,
    NotifyType::INVALID_SPI,
    NotifyType::COOKIE2,
    NotifyType::UPDATE_SA_ADDRESSES,
    NotifyType::CHILDLESS_IKEV2_SUPPORTED,
    NotifyType::USE_TRANSPORT_MODE,
];

const KINDS: [u8; 20] = [
    0, 1, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 48, 53, 128, 255,
];

const VALUES: [u8; 6] = [0, 1, 0x7F, 0x80, 0xFE, 0xFF];

const EXCHANGES: [Exchange; 6] = [
    Exchange::IkeAuth,
    Exchange::CreateChildSa,
    Exchange::Informational,
    Exchange::IkeIntermediate,
    Exchange::IkeFollowupKe,
    Exchange::IkeSaInit,
];

/// Changes one thing.
pub fn change(plain: &mut Plain, bytes: &mut Bytes<'_>, lore: &Lore) {
    let kind = bytes.byte() % 16;
    if kind >= 13 || plain.fragment.is_some() {
        return change_octets(plain, bytes);
    }
    if kind == 12 {
        return change_header(plain, bytes);
    }
    let Some(mut items) = take_apart(plain) else {
        return change_octets(plain, bytes);
    };
    let at = bytes.below(items.len());
    match kind {
        0 if !items.is_empty() => drop(items.remove(at)),
        1 if !items.is_empty() => items.insert(at, items[at].clone()),
        2 if !items.is_empty() => {
            let other = bytes.below(items.len());
            items.swap(at, other);
        }
        3 if !items.is_empty() => items[at].kind = bytes.of(&KINDS),
        4 if !items.is_empty() => items[at].flags ^= 0x80,
        5 | 6 => items.insert(at, notification(bytes, lore)),
        7 => items.insert(at, deletion(bytes, lore)),
        8 if !lore.items.is_empty() => items.insert(at, bytes.of_item(&lore.items)),
        9 if !items.is_empty() => {
            let same: Vec<&Item> = lore
                .items
                .iter()
                .filter(|item| item.kind == items[at].kind)
                .collect();
            if !same.is_empty() {
                items[at] = same[bytes.below(same.len())].clone();
            }
        }
        10 if !items.is_empty() => {
            let spi = lore.spi(bytes);
            let body = &mut items[at].body;
            let start = bytes.below(body.len());
            for (octet, new) in body.iter_mut().skip(start).zip(spi) {
                *octet = new;
            }
        }
        11 if !items.is_empty() => {
            let length = bytes.below(items[at].body.len() + 9);
            items[at].body.resize(length, 0);
        }
        _ => items.clear(),
    }
    put_together(plain, &items);
}

impl Bytes<'_> {
    fn of_item(&mut self, items: &[Item]) -> Item {
        items[self.below(items.len())].clone()
    }
}

fn change_octets(plain: &mut Plain, bytes: &mut Bytes<'_>) {
    if plain.body.is_empty() {
        plain.first = bytes.of(&KINDS);
        return;
    }
    let at = bytes.below(plain.body.len());
    match bytes.byte() % 5 {
        0 => plain.body[at] ^= 1 << (bytes.byte() % 8),
        1 => plain.body[at] = bytes.of(&VALUES),
        2 => plain.body.truncate(at),
        3 => plain.first = bytes.of(&KINDS),
        _ => {
            let count = 1 + bytes.below(8);
            plain.body.extend((0..count).map(|_| bytes.byte()));
        }
    }
}

fn change_header(plain: &mut Plain, bytes: &mut Bytes<'_>) {
    let header = &mut plain.header;
    match bytes.byte() % 4 {
        0 => header.exchange = bytes.of(&EXCHANGES),
        1 => header.message_id = header.message_id.wrapping_add(1),
        2 => header.message_id = header.message_id.wrapping_sub(1),
        _ => header.flags.response = !header.flags.response,
    }
}

fn notification(bytes: &mut Bytes<'_>, lore: &Lore) -> Item {
    let NotifyType(kind) = bytes.of(&NOTIFICATIONS);
    let protocol = bytes.of(&[0, 1, 3, 3, 3, 9]);
    let spi = match protocol {
        3 => lore.spi(bytes).to_vec(),
        _ => Vec::new(),
    };
    let mut body = vec![protocol, spi.len() as u8];
    body.extend(kind.to_be_bytes());
    body.extend(spi);
    let count = bytes.below(10);
    body.extend((0..count).map(|_| bytes.byte()));
    Item {
        kind: PayloadType::NOTIFY,
        flags: 0,
        body,
    }
}

fn deletion(bytes: &mut Bytes<'_>, lore: &Lore) -> Item {
    let protocol = bytes.of(&[1, 3, 3, 3, 2]);
    let mut body = vec![protocol];
    if protocol == 1 {
        body.extend([0, 0, 0]);
    } else {
        let count = bytes.below(4);
        body.extend([4, 0, count as u8]);
        for _ in 0..count {
            body.extend(lore.spi(bytes));
        }
    }
    Item {
        kind: PayloadType::DELETE,
        flags: 0,
        body,
    }
}

fn take_apart(plain: &Plain) -> Option<Vec<Item>> {
    let mut items = Vec::new();
    let (mut kind, mut rest) = (plain.first, plain.body.as_slice());
    while kind != 0 {
        let (&[next, flags, high, low], after) = rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([high, low])).checked_sub(4)?;
        let (body, after) = after.split_at_checked(length)?;
        items.push(Item {
            kind,
            flags,
            body: body.to_vec(),
        });
        (kind, rest) = (next, after);
    }
    rest.is_empty().then_some(items)
}

fn put_together(plain: &mut Plain, items: &[Item]) {
    plain.first = items.first().map_or(0, |item| item.kind);
    plain.body.clear();
    for (at, item) in items.iter().enumerate() {
        let length = u16::try_from(item.body.len() + 4).unwrap_or(u16::MAX);
        plain
            .body
            .push(items.get(at + 1).map_or(0, |next| next.kind));
        plain.body.push(item.flags);
        plain.body.extend(length.to_be_bytes());
        plain.body.extend(&item.body);
    }
}
