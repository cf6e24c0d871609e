//! `netlink-packet-xfrm` reads what we write, and we read what it writes.

use netlink_packet_core::{NetlinkSerializable as _, ParseableParametrized as _};
use netlink_packet_xfrm as theirs;
use netlink_packet_xfrm::{XfrmAttrs, XfrmMessage};

use super::super::notice::{Move, Notice};
use super::super::{abi, message, state};
use super::*;

fn parse(message: &message::Message) -> XfrmMessage {
    XfrmMessage::parse_with_param(message.body(), message.kind()).unwrap()
}

/// An IPv4 address as their 16 bytes.
fn address(address: IpAddr) -> theirs::Address {
    let IpAddr::V4(address) = address else {
        unreachable!()
    };
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&address.octets());
    theirs::Address { addr: bytes }
}

fn name(bytes: &[u8]) -> String {
    crate::netlink::text(bytes)
}

#[test]
fn a_state_of_every_suite_is_read_as_it_was_meant() {
    for suite in suites() {
        let (keymat, mac_key) = (key(suite.keymat_len()), key(suite.integrity_key_len()));
        let state = inbound(suite, &keymat, &mac_key);
        let XfrmMessage::AddSa(read) = parse(&state.add()) else {
            panic!("{suite} is not read as a state");
        };
        let info = read.user_sa_info;
        assert_eq!(info.id.daddr, address(OURS));
        assert_eq!(info.saddr, address(PEERS));
        assert_eq!((info.id.spi, info.id.proto), (0xc0de_0001, 50));
        assert_eq!((info.reqid, info.family, info.mode), (7, 2, 1));
        assert_eq!((info.replay_window, info.flags), (0, 32 | 128));
        assert_eq!(info.lifetime_cfg.soft_packet_limit, 1000);
        assert_eq!(info.lifetime_cfg.hard_packet_limit, 2000);
        assert_eq!(info.lifetime_cfg.soft_byte_limit, u64::MAX);
        assert_eq!(info.lifetime_cfg.hard_byte_limit, 1 << 40);
        assert_eq!(info.lifetime_cfg.soft_add_expires_seconds, 0);
        assert_eq!(info.lifetime_cfg.hard_add_expires_seconds, 3660);
        assert_eq!(info.lifetime_cfg.soft_use_expires_seconds, 0);
        assert_eq!(info.lifetime_cfg.hard_use_expires_seconds, 0);

        let mut seen = Vec::new();
        for attribute in &read.nlas {
            match attribute {
                XfrmAttrs::EncryptionAlgAead(algorithm) => {
                    assert!(suite.integrity.is_none());
                    assert_eq!(algorithm.alg_key, keymat.expose());
                    assert_eq!(algorithm.alg_key_len as usize, keymat.len() * 8);
                    assert_eq!(algorithm.alg_icv_len, 128);
                    assert!(name(&algorithm.alg_name).starts_with("rfc"));
                    seen.push("aead");
                }
                XfrmAttrs::EncryptionAlg(algorithm) => {
                    assert_eq!(name(&algorithm.alg_name), "cbc(aes)");
                    assert_eq!(algorithm.alg_key, keymat.expose());
                    assert_eq!(algorithm.alg_key_len as usize, keymat.len() * 8);
                    seen.push("cipher");
                }
                XfrmAttrs::AuthenticationAlgTrunc(algorithm) => {
                    let integrity = suite.integrity.unwrap();
                    assert_eq!(algorithm.alg_key, mac_key.expose());
                    assert_eq!(algorithm.alg_key_len as usize, mac_key.len() * 8);
                    assert_eq!(algorithm.alg_trunc_len as usize, integrity.icv_len() * 8);
                    seen.push("mac");
                }
                XfrmAttrs::Mark(mark) => {
                    assert_eq!((mark.value, mark.mask), (0xca05_0007, u32::MAX));
                    seen.push("mark");
                }
                XfrmAttrs::ReplayStateEsn(replay) => {
                    assert_eq!((replay.replay_window, replay.bmp_len), (1024, 32));
                    assert_eq!((replay.seq, replay.seq_hi), (5, 2));
                    assert_eq!((replay.oseq, replay.oseq_hi), (0, 0));
                    assert_eq!(replay.bmp, vec![0x1f; 32]);
                    seen.push("replay");
                }
                XfrmAttrs::EncapsulationTemplate(encap) => {
                    assert_eq!(
                        (encap.encap_type, encap.encap_sport, encap.encap_dport),
                        (2, 61_000, 4500)
                    );
                    seen.push("encap");
                }
                XfrmAttrs::MarkVal(mark) => assert_eq!(*mark, 0x55),
                XfrmAttrs::MarkMask(mask) => assert_eq!(*mask, u32::MAX),
                XfrmAttrs::MappingTimeThreshold(seconds) => {
                    assert_eq!(*seconds, 10);
                    seen.push("mapping");
                }
                XfrmAttrs::OffloadDevice(device) => {
                    assert_eq!((device.ifindex, device.flags), (3, 2 | 4));
                    seen.push("offload");
                }
                XfrmAttrs::Other(other) => {
                    use netlink_packet_core::Nla as _;
                    assert_eq!(
                        (other.kind(), other.value_len()),
                        (33, 1),
                        "SA_DIR, which it does not know"
                    );
                    let mut value = [0];
                    other.emit_value(&mut value);
                    assert_eq!(value, [1]);
                    seen.push("direction");
                }
                other => panic!("{suite} has {other:?}"),
            }
        }
        seen.sort_unstable();
        let ours = if suite.integrity.is_some() {
            vec![
                "cipher",
                "direction",
                "encap",
                "mac",
                "mapping",
                "mark",
                "offload",
                "replay",
            ]
        } else {
            vec![
                "aead",
                "direction",
                "encap",
                "mapping",
                "mark",
                "offload",
                "replay",
            ]
        };
        assert_eq!(seen, ours);
    }
}

#[test]
fn an_outbound_state_has_a_window_only_where_an_old_kernel_wants_one() {
    let suite = suites().pop().unwrap();
    let (keymat, none) = (key(suite.keymat_len()), key(0));
    let window = |esn, name_direction, sent| {
        let mut state = inbound(suite, &keymat, &none);
        state.direction = Direction::Outbound;
        (state.esn, state.name_direction) = (esn, name_direction);
        state.replay = Replay {
            sent,
            ..Replay::default()
        };
        let XfrmMessage::AddSa(read) = parse(&state.add()) else {
            panic!("not a state");
        };
        assert!(
            !read
                .nlas
                .iter()
                .any(|it| matches!(it, XfrmAttrs::MappingTimeThreshold(_))),
            "only what is received has a mapping"
        );
        read.nlas.iter().find_map(|attribute| match attribute {
            XfrmAttrs::ReplayStateEsn(replay) => Some((
                replay.replay_window,
                replay.bmp_len,
                replay.oseq,
                replay.oseq_hi,
            )),
            _ => None,
        })
    };
    assert_eq!(window(true, false, 0), Some((32, 1, 0, 0)));
    assert_eq!(window(true, true, 0), Some((0, 0, 0, 0)));
    assert_eq!(window(false, true, 0), None);
    assert_eq!(window(false, true, 77), Some((0, 0, 77, 0)));
    assert_eq!(window(true, true, 0x3_0000_0001), Some((0, 0, 1, 3)));
}

#[test]
fn a_state_reads_back_as_it_was_written_but_for_its_keys() {
    for suite in suites() {
        let (keymat, mac_key) = (key(suite.keymat_len()), key(suite.integrity_key_len()));
        let state = inbound(suite, &keymat, &mac_key);
        let message = state.add();
        let Some(Notice::StatePut(seen)) = Notice::read(&answer(abi::msg::NEWSA, message.body()))
        else {
            panic!("{suite} is not read");
        };
        assert_eq!(
            (seen.id, seen.source, seen.protocol),
            (state.id, state.source, 50)
        );
        assert_eq!((seen.reqid, seen.binding()), (7, Some(state.binding)));
        assert_eq!((seen.window, &seen.replay), (1024, &state.replay));
        assert_eq!((seen.encap, seen.lifetime), (state.encap, state.lifetime));
        assert_eq!(
            (seen.direction, seen.offload),
            (Some(Direction::Inbound), Some(3))
        );
        assert_eq!(seen.output_mark, Some(0x55));
        assert!(seen.tunnel && seen.esn);
        let shown = format!("{seen:?} {message:?} {state:?}");
        assert!(!shown.contains("64, 65, 66"), "a key in {shown}");
        assert!(!shown.contains("@AB"), "a key in {shown}");
    }
}

#[test]
fn a_policy_is_read_as_it_was_meant() {
    for (hook, number) in [(Hook::In, 0), (Hook::Out, 1), (Hook::Forward, 2)] {
        let policy = policy(hook, Binding::IfId(0xca05_0007));
        let XfrmMessage::UpdatePolicy(read) = parse(&policy.put()) else {
            panic!("not read as a policy");
        };
        let info = read.user_policy_info;
        assert_eq!((info.direction, info.action, info.priority), (number, 0, 1));
        assert_eq!(info.selector.family, 2);
        assert_eq!(
            (info.selector.prefixlen_d, info.selector.prefixlen_s),
            (0, 0)
        );
        assert_eq!(info.lifetime_cfg.hard_byte_limit, u64::MAX);
        let [XfrmAttrs::IfId(0xca05_0007), XfrmAttrs::Template(templates)] = read.nlas.as_slice()
        else {
            panic!("{:?}", read.nlas);
        };
        let [template] = templates.as_slice() else {
            panic!("{templates:?}");
        };
        assert_eq!(
            (template.id.daddr, template.saddr),
            (address(PEERS), address(OURS))
        );
        assert_eq!((template.id.spi, template.id.proto), (0xdead_beef, 50));
        assert_eq!(
            (template.reqid, template.mode, template.optional),
            (7, 1, 0)
        );
        assert_eq!(
            template.aalgos & template.ealgos & template.calgos,
            u32::MAX
        );

        let message = policy.put();
        let Some(Notice::PolicyPut(seen)) =
            Notice::read(&answer(abi::msg::NEWPOLICY, message.body()))
        else {
            panic!("not read back");
        };
        assert!(seen.is(&policy), "{seen:?}");

        let XfrmMessage::DeletePolicy(read) = parse(&policy.id.delete()) else {
            panic!("not read as a deletion");
        };
        assert_eq!(read.user_policy_id.direction, number);
        assert_eq!(read.nlas, [XfrmAttrs::IfId(0xca05_0007)]);
    }
}

#[test]
fn a_block_is_no_allow() {
    let mut policy = policy(Hook::Out, Binding::Mark(5));
    (policy.action, policy.template) = (Action::Block, None);
    let XfrmMessage::UpdatePolicy(read) = parse(&policy.put()) else {
        panic!("not read as a policy");
    };
    assert_eq!(read.user_policy_info.action, 1);
    assert_eq!(read.nlas.len(), 1, "{:?}", read.nlas);
}

#[test]
fn questions_and_deletions_name_the_state() {
    let id = SaId {
        destination: PEERS,
        spi: 0xc0de_0002,
    };
    let XfrmMessage::DeleteSa(read) = parse(&state::delete(id, Binding::Mark(9))) else {
        panic!("not read as a deletion");
    };
    let named = read.user_sa_id;
    assert_eq!(named.daddr, address(PEERS));
    assert_eq!((named.spi, named.family, named.proto), (0xc0de_0002, 2, 50));
    assert_eq!(read.nlas.len(), 1);
    let XfrmMessage::GetSa(read) = parse(&state::get(id, Binding::IfId(9))) else {
        panic!("not read as a question");
    };
    assert_eq!(read.nlas, [XfrmAttrs::IfId(9)]);
}

#[test]
fn notices_that_they_write_are_read() {
    let read = |message: XfrmMessage| {
        let mut body = vec![0; message.buffer_len()];
        message.serialize(&mut body);
        Notice::read(&answer(message.message_type(), &body)).unwrap()
    };
    let sa_id = theirs::UserSaId {
        daddr: address(OURS),
        spi: 0xc0de_0001,
        family: 2,
        proto: 50,
    };
    let id = SaId {
        destination: OURS,
        spi: 0xc0de_0001,
    };

    let mapping = theirs::UserMapping {
        id: sa_id,
        reqid: 7,
        old_saddr: address(PEERS),
        new_saddr: address(IpAddr::from([203, 0, 113, 5])),
        old_sport: 4500,
        new_sport: 61_001,
    };
    assert_eq!(
        read(XfrmMessage::Mapping(theirs::MappingMessage {
            map: mapping
        })),
        Notice::Mapping {
            id,
            reqid: 7,
            old: (PEERS, 4500).into(),
            new: ([203, 0, 113, 5], 61_001).into(),
        }
    );

    let info = theirs::UserSaInfo {
        id: theirs::Id {
            daddr: address(OURS),
            spi: 0xc0de_0001,
            proto: 50,
        },
        saddr: address(PEERS),
        family: 2,
        mode: 1,
        reqid: 7,
        lifetime_cur: theirs::Lifetime {
            bytes: 99,
            packets: 3,
            ..Default::default()
        },
        stats: theirs::Stats {
            replay_window: 1,
            replay: 2,
            integrity_failed: 3,
        },
        ..Default::default()
    };
    for hard in [0, 1] {
        let expire = theirs::UserExpire { state: info, hard };
        let Notice::Expired { state, hard: gone } =
            read(XfrmMessage::Expire(theirs::ExpireMessage { expire }))
        else {
            panic!("not an expiry");
        };
        assert_eq!((state.id, gone), (id, hard == 1));
        assert_eq!((state.usage.bytes, state.usage.packets), (99, 3));
        let faults = state.faults;
        assert_eq!(
            (faults.too_old, faults.replayed, faults.integrity),
            (1, 2, 3)
        );
    }

    let deletion = theirs::state::DelGetMessage {
        user_sa_id: sa_id,
        nlas: vec![
            XfrmAttrs::SaInfo(info),
            XfrmAttrs::IfId(0xca05_0007),
            XfrmAttrs::LastUsed(1_700_000_000),
        ],
    };
    let Notice::StateDeleted(state) = read(XfrmMessage::DeleteSa(deletion)) else {
        panic!("not a deletion");
    };
    assert_eq!(
        (state.id, state.binding()),
        (id, Some(Binding::IfId(0xca05_0007)))
    );
    assert_eq!(state.last_used, Some(1_700_000_000));

    let any = theirs::Selector {
        family: 2,
        ..Default::default()
    };
    let migration = theirs::MigrateMessage {
        user_policy_id: theirs::UserPolicyId {
            selector: any,
            direction: 1,
            ..Default::default()
        },
        nlas: vec![XfrmAttrs::Migrate(theirs::UserMigrate {
            old_daddr: address(PEERS),
            old_saddr: address(OURS),
            new_daddr: address(IpAddr::from([203, 0, 113, 5])),
            new_saddr: address(OURS),
            proto: 50,
            mode: 1,
            reqid: 7,
            old_family: 2,
            new_family: 2,
            ..Default::default()
        })],
    };
    assert_eq!(
        read(XfrmMessage::Migrate(migration)),
        Notice::Migrated {
            hook: Some(Hook::Out),
            selector: Selector::any_ipv4(),
            moves: vec![Move {
                from: (OURS, PEERS),
                to: (OURS, IpAddr::from([203, 0, 113, 5])),
                reqid: 7,
            }],
        }
    );

    let acquire = theirs::AcquireMessage {
        acquire: theirs::UserAcquire {
            id: info.id,
            saddr: address(PEERS),
            selector: any,
            policy: theirs::UserPolicyInfo {
                selector: any,
                ..Default::default()
            },
            ..Default::default()
        },
        nlas: Vec::new(),
    };
    assert_eq!(
        read(XfrmMessage::Acquire(acquire)),
        Notice::Acquire {
            destination: OURS,
            source: PEERS,
            selector: Selector::any_ipv4(),
        }
    );

    let progress = theirs::NewAsyncEventMessage {
        id: theirs::AsyncEventId {
            sa_id,
            saddr: address(PEERS),
            flags: 0,
            reqid: 7,
        },
        nlas: vec![
            XfrmAttrs::ReplayState(theirs::Replay {
                oseq: 4,
                seq: 9,
                bitmap: 1,
            }),
            XfrmAttrs::LifetimeBytes(theirs::Lifetime {
                bytes: 10,
                packets: 1,
                ..Default::default()
            }),
        ],
    };
    let Notice::Progress { replay, usage, .. } = read(XfrmMessage::NewAsyncEvent(progress)) else {
        panic!("not progress");
    };
    let replay = replay.unwrap();
    assert_eq!((replay.sent, replay.received), (4, 9));
    assert_eq!(usage.unwrap().packets, 1);
}
