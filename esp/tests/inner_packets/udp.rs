//! What is what on port 4500.

use esp::Datagram;

#[test]
fn datagrams_on_port_4500_are_told_apart() {
    let classify = |bytes: &[u8]| match Datagram::classify(&mut bytes.to_vec()) {
        Datagram::Ike(message) => ("ike", message.to_vec()),
        Datagram::Esp(packet) => ("esp", packet.to_vec()),
        Datagram::Keepalive => ("keepalive", Vec::new()),
        Datagram::Runt => ("runt", Vec::new()),
    };
    assert_eq!(classify(&[0, 0, 0, 0, 1, 2]), ("ike", vec![1, 2]));
    assert_eq!(classify(&[0, 0, 0, 0]), ("ike", vec![]));
    assert_eq!(classify(&[0, 0, 1, 0, 9]), ("esp", vec![0, 0, 1, 0, 9]));
    assert_eq!(classify(&[0xff]).0, "keepalive");
    assert_eq!(classify(&[0xff, 0xff, 0xff, 0xff]).0, "esp");
    for runt in [&[][..], &[0], &[0, 0], &[0xff, 0xff], &[0, 0, 0]] {
        assert_eq!(classify(runt).0, "runt");
    }
}
