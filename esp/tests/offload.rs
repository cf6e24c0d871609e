//! Segmentation and coalescing against a slow reference: packets written field by field, with the checksum of RFC 1071
//! as it stands there.

#![expect(clippy::unwrap_used, reason = "a failed test is told by a panic")]

use esp::{
    Coalesced, DropReason, Flow, Gso, InnerPacket, Mergeable, Segments, Transport,
    complete_checksum,
};
use proptest::prelude::*;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const CWR: u8 = 0x80;

/// What a flow's packets have in common, and what its sender has sent so far.
#[derive(Clone, Debug)]
struct Sender {
    v6: bool,
    transport: Transport,
    tos: u8,
    ttl: u8,
    dont_fragment: bool,
    id: u16,
    ports: [u16; 2],
    sequence: u32,
    acknowledged: u32,
    window: u16,
    flags: u8,
    options: Vec<u8>,
}

impl Sender {
    /// A packet with this payload, whole and right.
    fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut segment = Vec::new();
        for port in self.ports {
            segment.extend(port.to_be_bytes());
        }
        let checksum_at = match self.transport {
            Transport::Tcp => {
                segment.extend(self.sequence.to_be_bytes());
                segment.extend(self.acknowledged.to_be_bytes());
                let words = 5 + self.options.len() / 4;
                segment.extend([(words as u8) << 4, self.flags]);
                segment.extend(self.window.to_be_bytes());
                segment.extend([0, 0, 0, 0]);
                segment.extend(&self.options);
                16
            }
            Transport::Udp => {
                segment.extend((8 + payload.len() as u16).to_be_bytes());
                segment.extend([0, 0]);
                6
            }
        };
        segment.extend(payload);
        let sum = slow_checksum(&[self.pseudo_header(segment.len()), segment.clone()].concat());
        let sum = match (self.transport, sum) {
            (Transport::Udp, 0) => 0xffff,
            (_, sum) => sum,
        };
        segment[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
        [self.network_header(segment.len()), segment].concat()
    }

    fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp => 6,
            Transport::Udp => 17,
        }
    }

    fn addresses(&self) -> Vec<u8> {
        let len = if self.v6 { 32 } else { 8 };
        (0..len)
            .map(|i: u8| i.wrapping_mul(11).wrapping_add(3))
            .collect()
    }

    fn pseudo_header(&self, len: usize) -> Vec<u8> {
        let len = (len as u32).to_be_bytes();
        [
            self.addresses(),
            len.to_vec(),
            vec![0, 0, 0, self.protocol()],
        ]
        .concat()
    }

    fn network_header(&self, payload_len: usize) -> Vec<u8> {
        let [high, low] = (payload_len as u16).to_be_bytes();
        if self.v6 {
            let class = [0x60 | self.tos >> 4, self.tos << 4 | 0x0a, 0xbc, 0xde];
            let rest = [high, low, self.protocol(), self.ttl];
            return [&class[..], &rest, &self.addresses()].concat();
        }
        let [high, low] = (payload_len as u16 + 20).to_be_bytes();
        let [id0, id1] = self.id.to_be_bytes();
        let flags = if self.dont_fragment { 0x40 } else { 0 };
        let mut header = [
            &[0x45, self.tos, high, low, id0, id1, flags, 0][..],
            &[self.ttl, self.protocol(), 0, 0],
            &self.addresses(),
        ]
        .concat();
        let sum = slow_checksum(&header).to_be_bytes();
        header[10..12].copy_from_slice(&sum);
        header
    }

    /// The packets that a sender with this segment size makes of the data.
    fn packets(&self, data: &[u8], size: usize) -> Vec<Vec<u8>> {
        let chunks: Vec<_> = data.chunks(size).collect();
        let last = chunks.len() - 1;
        let made = chunks.iter().enumerate().map(|(i, chunk)| {
            let mut flags = self.flags;
            if i > 0 {
                flags &= !CWR;
            }
            if i < last {
                flags &= !(FIN | PSH);
            }
            let segment = Self {
                id: self.id.wrapping_add(i as u16),
                sequence: self.sequence.wrapping_add((i * size) as u32),
                flags,
                ..self.clone()
            };
            segment.packet(chunk)
        });
        made.collect()
    }
}

/// RFC 1071 section 4.1, word by word.
fn slow_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        if sum > 0xffff {
            sum -= 0xffff;
        }
    }
    !(sum as u16)
}

fn sender() -> impl Strategy<Value = Sender> {
    let flags = prop_oneof![
        4 => Just(ACK),
        2 => Just(ACK | PSH),
        1 => Just(ACK | PSH | FIN),
        1 => Just(ACK | CWR),
        1 => any::<u8>(),
    ];
    let network = (
        any::<bool>(),
        any::<bool>(),
        any::<u8>(),
        any::<u8>(),
        any::<u16>(),
    );
    let numbers = (any::<u32>(), any::<u32>(), any::<u16>(), any::<[u16; 2]>());
    let tcp = (
        any::<bool>(),
        flags,
        proptest::collection::vec(any::<u8>(), 0..=10),
    );
    (network, numbers, tcp).prop_map(|(network, numbers, (tcp, flags, options))| {
        let (v6, dont_fragment, tos, ttl, id) = network;
        let (sequence, acknowledged, window, ports) = numbers;
        // Options fill whole words.
        let options = options.iter().flat_map(|byte| [1, 1, 1, *byte]).collect();
        Sender {
            v6,
            transport: if tcp { Transport::Tcp } else { Transport::Udp },
            tos,
            ttl,
            dont_fragment,
            id,
            ports,
            sequence,
            acknowledged,
            window,
            flags,
            options,
        }
    })
}

fn data(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let sizes = prop_oneof![1..=most.min(64), 1..=most];
    (sizes, any::<u8>()).prop_map(|(len, seed)| {
        (0..len)
            .map(|i| (i as u8).wrapping_mul(31) ^ seed ^ (i >> 8) as u8)
            .collect()
    })
}

fn segments_of(packet: &[u8], gso: Gso) -> Vec<Vec<u8>> {
    let segments = Segments::of(packet, gso).unwrap();
    let mut room = vec![0xee; segments.longest()];
    (0..segments.count())
        .map(|index| {
            let len = segments.write(packet, index, &mut room).unwrap();
            room[..len].to_vec()
        })
        .collect()
}

/// What the host is given for these packets of one flow: coalesced as far as they may be.
fn coalesce(packets: &[Vec<u8>]) -> Vec<(Vec<u8>, Option<Gso>)> {
    let mut out = Vec::new();
    let mut open: Option<(Coalesced, Vec<u8>)> = None;
    let close = |open: Option<(Coalesced, Vec<u8>)>, out: &mut Vec<_>| {
        if let Some((whole, payload)) = open {
            let headers = whole.headers();
            let packet = [headers.bytes(), &payload].concat();
            assert_eq!(packet.len(), whole.total_len());
            out.push((packet, headers.gso()));
        }
    };
    for packet in packets {
        let part = InnerPacket::parse(packet)
            .ok()
            .and_then(|inner| Mergeable::of(packet, &inner));
        match part {
            Some(part) => {
                let payload = packet[part.payload()].to_vec();
                if let Some((whole, bytes)) = &mut open
                    && whole.append(&part)
                {
                    bytes.extend(payload);
                } else {
                    close(open.replace((Coalesced::starting(part), payload)), &mut out);
                }
            }
            None => {
                close(open.take(), &mut out);
                out.push((packet.clone(), None));
            }
        }
    }
    close(open, &mut out);
    out
}

/// The packets that the host's stack sees in the end.
fn cut_again(whole: &[(Vec<u8>, Option<Gso>)]) -> Vec<Vec<u8>> {
    whole
        .iter()
        .flat_map(|(packet, gso)| match gso {
            Some(gso) => segments_of(packet, *gso),
            None => vec![packet.clone()],
        })
        .collect()
}

/// A packet without what coalescing may change: the identification of one with DF (RFC 6864 section 4.1) and with it the
/// header's checksum.
fn comparable(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 {
        assert_eq!(
            slow_checksum(&packet[..usize::from(packet[0] & 0x0f) * 4]),
            0
        );
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 400 } else { 4000 }))]

    #[test]
    fn segments_are_what_a_sender_without_offload_sends(
        sender in sender(), data in data(9000), size in 1_u16..=1460, garbage in any::<u16>(),
    ) {
        // The lengths in the UDP header and the checksums are the segmenter's to fill in.
        let mut packet = sender.packet(&data);
        let at = if sender.v6 { 40 } else { 20 } + match sender.transport { Transport::Tcp => 16, Transport::Udp => 4 };
        packet[at..at + 2].copy_from_slice(&garbage.to_be_bytes());
        let gso = Gso { transport: sender.transport, size };
        prop_assert_eq!(segments_of(&packet, gso), sender.packets(&data, usize::from(size)));
    }

    #[test]
    fn a_completed_checksum_is_right(sender in sender(), data in data(1500)) {
        let expected = sender.packet(&data);
        let start = if sender.v6 { 40 } else { 20 };
        let offset = match sender.transport { Transport::Tcp => 16, Transport::Udp => 6 };
        let mut packet = expected.clone();
        // What the kernel leaves in the field: the pseudo-header's sum, not complemented.
        let pseudo = !slow_checksum(&sender.pseudo_header(expected.len() - start));
        packet[start + offset..start + offset + 2].copy_from_slice(&pseudo.to_be_bytes());
        complete_checksum(&mut packet, start, offset).unwrap();
        prop_assert_eq!(packet, expected);
    }

    #[test]
    fn cutting_what_was_coalesced_gives_the_packets_back(
        sender in sender(), data in data(30_000), size in 1_usize..=1460,
    ) {
        let packets = sender.packets(&data, size);
        let whole = coalesce(&packets);
        prop_assert_eq!(
            cut_again(&whole).iter().map(|p| comparable(p)).collect::<Vec<_>>(),
            packets.iter().map(|p| comparable(p)).collect::<Vec<_>>()
        );
        for (packet, gso) in &whole {
            if gso.is_some() {
                // The IP header is complete; the transport's checksum is the pseudo-header's sum.
                let (header, expected) = if sender.v6 { (40, 0) } else { (20, slow_checksum(&packet[..20])) };
                prop_assert_eq!(expected, 0);
                let offset = header + match sender.transport { Transport::Tcp => 16, Transport::Udp => 6 };
                let pseudo = !slow_checksum(&sender.pseudo_header(packet.len() - header));
                prop_assert_eq!(&packet[offset..offset + 2], &pseudo.to_be_bytes());
            }
        }
    }

    #[test]
    fn a_plain_run_becomes_one_packet(
        sender in sender(), chunks in 2_usize..40, size in 1_usize..=1460, rest in 1_usize..=1460,
    ) {
        let sender = Sender { flags: ACK, ..sender };
        let data = vec![0xa5; size * (chunks - 1) + rest.min(size)];
        let whole = coalesce(&sender.packets(&data, size));
        prop_assert_eq!(whole.len(), 1);
        prop_assert_eq!(whole[0].1, Some(Gso { transport: sender.transport, size: size as u16 }));
    }

    /// Whatever is different about one packet, what comes out in the end is what went in, in order.
    #[test]
    fn nothing_that_differs_is_lost_by_coalescing(
        sender in sender(), chunks in 2_usize..6, size in 1_usize..=40,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..100, any::<u8>(), any::<bool>()), 1..4),
        swap in proptest::option::of(any::<(prop::sample::Index, prop::sample::Index)>()),
    ) {
        let sender = Sender { flags: ACK, ..sender };
        let data = vec![0x3c; size * chunks];
        let mut packets = sender.packets(&data, size);
        for (which, at, bits, repair) in changes {
            let index = which.index(packets.len());
            let packet = &mut packets[index];
            if let Some(byte) = packet.get_mut(at) {
                *byte ^= bits;
            }
            if repair {
                repair_checksums(packet, &sender);
            }
        }
        if let Some((a, b)) = swap {
            let (a, b) = (a.index(packets.len()), b.index(packets.len()));
            packets.swap(a, b);
        }
        // What the tunnel carries has been parsed; and the kernel drops a wrong IP header whatever comes behind it.
        packets.retain(|packet| {
            let parsed = InnerPacket::parse(packet);
            parsed.is_ok_and(|inner| {
                inner.total_len == packet.len() && (packet[0] >> 4 == 6 || slow_checksum(&packet[..inner.header_len]) == 0)
            })
        });
        prop_assume!(!packets.is_empty());
        let out = cut_again(&coalesce(&packets));
        prop_assert_eq!(
            out.iter().map(|p| comparable(p)).collect::<Vec<_>>(),
            packets.iter().map(|p| comparable(p)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn no_bytes_make_the_segmenter_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), version in any::<bool>(), tcp in any::<bool>(), size in any::<u16>(),
        start in any::<usize>(), offset in any::<usize>(),
    ) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = if version { 0x45 } else { 0x60 };
        }
        let gso = Gso { transport: if tcp { Transport::Tcp } else { Transport::Udp }, size };
        if let Ok(segments) = Segments::of(&bytes, gso) {
            let mut room = [0; 200];
            for index in 0..=segments.count() {
                let _ = segments.write(&bytes, index, &mut room);
            }
        }
        if let Ok(inner) = InnerPacket::parse(&bytes) {
            let _ = (Flow::of(&bytes, &inner), Mergeable::of(&bytes, &inner));
        }
        let _ = complete_checksum(&mut bytes, start, offset);
    }
}

/// Makes the checksums right again after a change, so that the change itself has to be seen.
fn repair_checksums(packet: &mut [u8], sender: &Sender) {
    let start = if sender.v6 { 40 } else { 20 };
    if packet.len() < start + 18 || packet[0] >> 4 != if sender.v6 { 6 } else { 4 } {
        return;
    }
    if !sender.v6 {
        packet[10..12].fill(0);
        let sum = slow_checksum(&packet[..20]).to_be_bytes();
        packet[10..12].copy_from_slice(&sum);
    }
    let (protocol, addresses) = if sender.v6 {
        (packet[6], packet[8..40].to_vec())
    } else {
        (packet[9], packet[12..20].to_vec())
    };
    let at = start
        + match protocol {
            6 => 16,
            17 => 6,
            _ => return,
        };
    packet[at..at + 2].fill(0);
    let len = ((packet.len() - start) as u32).to_be_bytes();
    let covered = [&addresses[..], &len, &[0, 0, 0, protocol], &packet[start..]].concat();
    let sum = slow_checksum(&covered);
    let sum = if protocol == 17 && sum == 0 {
        0xffff
    } else {
        sum
    };
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn plain_tcp() -> Sender {
    Sender {
        v6: false,
        transport: Transport::Tcp,
        tos: 0,
        ttl: 64,
        dont_fragment: true,
        id: 7,
        ports: [443, 50_000],
        sequence: 1_000_000,
        acknowledged: 5,
        window: 500,
        flags: ACK,
        options: vec![],
    }
}

#[test]
fn a_push_ends_the_run_and_is_kept() {
    let sender = Sender {
        flags: ACK | PSH,
        ..plain_tcp()
    };
    let mut packets = sender.packets(&[1; 300], 100);
    let next = Sender {
        sequence: sender.sequence + 300,
        id: 10,
        ..plain_tcp()
    };
    packets.extend(next.packets(&[2; 200], 100));
    let whole = coalesce(&packets);
    let lens: Vec<_> = whole.iter().map(|(packet, _)| packet.len()).collect();
    assert_eq!(lens, [340, 240]);
    assert_eq!(whole[0].0[33], ACK | PSH);
}

#[test]
fn a_packet_with_a_wrong_checksum_is_left_as_it_is() {
    let mut packets = plain_tcp().packets(&[9; 300], 100);
    packets[1][100] ^= 1;
    let whole = coalesce(&packets);
    assert_eq!(whole.iter().filter(|(_, gso)| gso.is_some()).count(), 0);
    assert_eq!(whole[1].0, packets[1]);
}

#[test]
fn a_run_never_becomes_longer_than_ip_can_say() {
    let packets = plain_tcp().packets(&[9; 80_000], 1400);
    let whole = coalesce(&packets);
    assert!(whole.iter().all(|(packet, _)| packet.len() <= 65_535));
    assert_eq!(whole.len(), 2);
    assert_eq!(cut_again(&whole).len(), packets.len());
}

#[test]
fn fragments_and_other_protocols_belong_to_no_flow() {
    let packet = plain_tcp().packet(&[1; 50]);
    let flow_of = |packet: &[u8]| Flow::of(packet, &InnerPacket::parse(packet).unwrap());
    assert!(flow_of(&packet).is_some());
    for (at, value) in [(6, 0x20), (7, 0x01), (9, 1)] {
        let mut other = packet.clone();
        other[at] = value;
        assert_eq!(flow_of(&other), None, "byte {at} is {value}");
    }
}

#[test]
fn what_cannot_be_cut_is_refused() {
    let packet = plain_tcp().packet(&[1; 50]);
    let refused =
        |packet: &[u8], transport, size| Segments::of(packet, Gso { transport, size }).err();
    assert_eq!(refused(&packet, Transport::Tcp, 10), None);
    assert_eq!(
        refused(&packet, Transport::Tcp, 0),
        Some(DropReason::InnerLength)
    );
    assert_eq!(
        refused(&packet, Transport::Udp, 10),
        Some(DropReason::InnerLength)
    );
    assert_eq!(
        refused(&packet[..30], Transport::Tcp, 10),
        Some(DropReason::InnerLength)
    );
    let mut short_header = packet;
    short_header[32] = 0x40;
    assert_eq!(
        refused(&short_header, Transport::Tcp, 10),
        Some(DropReason::InnerLength)
    );
}
