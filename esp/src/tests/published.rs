//! Snapshots and the SA table.

use std::sync::Arc;

use crate::{Published, SaTable, Spi};

#[test]
fn a_reader_sees_a_replacement_the_next_time_it_asks() {
    let published = Arc::new(Published::new(1));
    let mut reader = published.reader();
    assert_eq!(**reader.get(), 1);
    published.store(2);
    assert_eq!(**reader.get(), 2);
    assert_eq!(*published.load(), 2);
}

#[test]
fn what_was_replaced_is_freed_when_the_last_reader_has_looked() {
    let published = Arc::new(Published::new(Arc::new(())));
    let first = published.load();
    let watched = Arc::downgrade(&*first);
    drop(first);
    let mut reader = published.reader();
    published.store(Arc::new(()));
    assert!(watched.upgrade().is_some(), "the reader has not looked yet");
    reader.get();
    assert!(watched.upgrade().is_none());
}

#[test]
fn a_tunnel_receives_on_several_sas_and_sends_on_one() {
    let mut table: SaTable<u32, &str, &str> = SaTable::default();
    table.add_inbound(Spi(0x1000), 1, Arc::new("old")).unwrap();
    table.add_inbound(Spi(0x0fff), 1, Arc::new("new")).unwrap();
    table
        .add_inbound(Spi(0x2000), 2, Arc::new("other"))
        .unwrap();
    assert_eq!(table.set_outbound(1, Arc::new("first")), None);
    assert_eq!(
        table.set_outbound(1, Arc::new("second")).as_deref(),
        Some(&"first")
    );

    assert_eq!(table.inbound(Spi(0x1000)).map(|sa| **sa), Some("old"));
    assert_eq!(table.inbound(Spi(0x1001)), None);
    assert_eq!(table.tunnel_of(Spi(0x2000)), Some(2));
    assert_eq!(table.outbound(1).map(|sa| **sa), Some("second"));
    let spis: Vec<_> = table.inbound_of(1).map(|(spi, _)| spi).collect();
    assert_eq!(spis, [Spi(0x0fff), Spi(0x1000)]);

    assert_eq!(table.add_inbound(Spi(0x2000), 1, Arc::new("taken")), Err(2));
    assert_eq!(
        table.remove_inbound(Spi(0x2000), 1),
        None,
        "not that tunnel's"
    );
    assert!(table.remove_inbound(Spi(0x1000), 1).is_some());
    assert_eq!(table.inbound(Spi(0x1000)), None);
    table.remove_tunnel(1);
    assert_eq!(table.inbound(Spi(0x0fff)), None);
    assert_eq!(table.outbound(1), None);
    assert!(
        table.inbound(Spi(0x2000)).is_some(),
        "the other tunnel stays"
    );
}

#[test]
fn an_edit_of_a_clone_does_not_change_the_original() {
    let mut table: SaTable<u32, (), ()> = SaTable::default();
    table.add_inbound(Spi(0x1000), 1, Arc::new(())).unwrap();
    let mut edited = table.clone();
    edited.remove_tunnel(1);
    assert!(table.inbound(Spi(0x1000)).is_some());
    assert!(edited.inbound(Spi(0x1000)).is_none());
}
