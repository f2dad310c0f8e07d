use std::net::IpAddr;

use super::*;

fn limiter(all: usize, per_client: usize) -> ConnectionLimiter {
    let proxies = vec![Cidr::parse("192.0.2.0/24").unwrap()];
    ConnectionLimiter::new(
        ConnectionLimits {
            all,
            per_client,
            proxies,
        },
        ConnectionMetrics::default(),
    )
}

fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

async fn must_close(guard: &ConnectionGuard) -> bool {
    let requested = guard.close_requested();
    futures_util::poll!(std::pin::pin!(requested)).is_ready()
}

#[tokio::test]
async fn the_connection_that_is_idle_for_longest_makes_room() {
    let limiter = limiter(3, 3);
    let [first, second, third] = [0; 3].map(|_| limiter.admit(address("10.0.0.1")).unwrap());
    // After a request the first one is the one that became idle last.
    let in_use = first.begin_request();
    drop(in_use);
    let mut room = Box::pin(limiter.wait_for_room());
    assert!(futures_util::poll!(room.as_mut()).is_pending());
    assert!(must_close(&second).await && !must_close(&first).await && !must_close(&third).await);
    drop(second);
    assert!(futures_util::poll!(room.as_mut()).is_ready());
}

#[tokio::test]
async fn while_all_are_in_use_a_new_one_waits_and_the_first_that_is_idle_makes_room() {
    let limiter = limiter(2, 2);
    let [first, second] = [0; 2].map(|_| limiter.admit(address("10.0.0.1")).unwrap());
    let (one, _two) = (first.begin_request(), second.begin_request());
    let mut room = Box::pin(limiter.wait_for_room());
    assert!(futures_util::poll!(room.as_mut()).is_pending());
    assert!(!must_close(&first).await && !must_close(&second).await);
    drop(one);
    assert!(futures_util::poll!(room.as_mut()).is_pending());
    assert!(must_close(&first).await && !must_close(&second).await);
    drop(first);
    assert!(futures_util::poll!(room.as_mut()).is_ready());
}

#[tokio::test]
async fn a_connection_that_was_told_to_end_answers_a_request_that_arrived_meanwhile() {
    let limiter = limiter(2, 2);
    let [first, second] = [0; 2].map(|_| limiter.admit(address("10.0.0.1")).unwrap());
    let mut room = Box::pin(limiter.wait_for_room());
    assert!(futures_util::poll!(room.as_mut()).is_pending());
    let _request = first.begin_request();
    assert!(!must_close(&first).await);
    assert!(futures_util::poll!(room.as_mut()).is_pending());
    assert!(must_close(&second).await, "another one makes room");
}

#[tokio::test]
async fn one_client_has_its_share_and_others_are_let_in() {
    let limiter = limiter(100, 2);
    let mallory = address("203.0.113.9");
    let [first, second] = [0; 2].map(|_| limiter.admit(mallory).unwrap());
    let _busy = first.begin_request();
    // One of its own idle connections makes room.
    let third = limiter.admit(mallory).unwrap();
    assert!(must_close(&second).await && !must_close(&third).await);
    drop(second);
    let _busy = third.begin_request();
    assert!(limiter.admit(mallory).is_none());
    assert!(limiter.admit(address("203.0.113.10")).is_some());
    drop(first);
    assert!(limiter.admit(mallory).is_some());
}

#[tokio::test]
async fn an_ipv6_network_is_one_client_and_proxies_and_this_machine_are_none() {
    let limiter = limiter(100, 1);
    let kept = limiter.admit(address("2001:db8:1:2::1")).unwrap();
    let _busy = kept.begin_request();
    assert!(limiter.admit(address("2001:db8:1:2:ffff::9")).is_none());
    assert!(limiter.admit(address("2001:db8:1:3::1")).is_some());
    for uncounted in [address("192.0.2.7"), address("127.0.0.1"), address("::1"), None] {
        let guards = [0; 5].map(|_| limiter.admit(uncounted).unwrap());
        let _busy = guards.each_ref().map(ConnectionGuard::begin_request);
    }
}
