use super::*;

fn pace(give_up: u64) -> Pace {
    let retransmission = Retransmission {
        first: Duration::from_millis(500),
        cap: Duration::from_secs(4),
    };
    Pace {
        retransmission,
        give_up: Duration::from_secs(give_up),
    }
}

#[test]
fn a_request_is_repeated_at_doubling_intervals_up_to_the_cap_and_then_given_up() {
    let start = Instant::now();
    let mut window = Window::default();
    window.sent(start, vec![vec![1]], pace(20));
    let mut times = Vec::new();
    loop {
        let at = window.timeout().expect("a deadline");
        match window.poll(at) {
            Due::Repeat(packets) => {
                assert_eq!(packets, [[1]]);
                times.push((at - start).as_millis());
            }
            Due::GiveUp(waited) => {
                assert_eq!(waited, Duration::from_secs(20));
                break;
            }
            Due::Nothing => panic!("a deadline with nothing to do"),
        }
    }
    assert_eq!(times, [500, 1500, 3500, 7500, 11_500, 15_500, 19_500]);
    assert_eq!(window.timeout(), None);
}

#[test]
fn only_the_response_to_the_request_under_way_counts_and_only_once() {
    let now = Instant::now();
    let mut window = Window::default();
    assert!(!window.answered(0));
    window.sent(now, vec![vec![1]], pace(20));
    assert!(!window.answered(1));
    assert!(window.answered(0));
    assert!(!window.answered(0));
    assert_eq!(window.next_id(), 1);
    assert_eq!(window.poll(now + Duration::from_secs(60)), Due::Nothing);
}

#[test]
fn a_request_of_the_peer_is_new_once_and_then_repeated() {
    let mut window = Window::default();
    assert_eq!(window.arrival(1), Arrival::Outside);
    for id in 0..3 {
        assert_eq!(window.arrival(id), Arrival::New);
        let reply = vec![id.to_be_bytes().to_vec()];
        window.replied(reply.clone());
        assert_eq!(window.arrival(id), Arrival::Repeated(&reply));
        assert_eq!(window.arrival(id + 2), Arrival::Outside);
    }
    assert_eq!(window.arrival(1), Arrival::Outside);
}
