use std::net::IpAddr;

use super::*;

fn connections(all: usize, per_client: usize) -> Connections {
    let proxies = vec![Network::parse("192.0.2.0/24").unwrap()];
    Connections::new(
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

async fn is_told(ticket: &Ticket) -> bool {
    let told = ticket.told_to_end();
    futures_util::poll!(std::pin::pin!(told)).is_ready()
}

#[tokio::test]
async fn the_connection_that_is_idle_for_longest_makes_room() {
    let connections = connections(3, 3);
    let [first, second, third] = [0; 3].map(|_| connections.admit(address("10.0.0.1")).unwrap());
    // The first one asks for something, and is the youngest of the idle ones afterwards.
    let in_use = first.begin();
    drop(in_use);
    let mut room = Box::pin(connections.room());
    assert!(futures_util::poll!(room.as_mut()).is_pending());
    assert!(is_told(&second).await && !is_told(&first).await && !is_told(&third).await);
    drop(second);
    assert!(futures_util::poll!(room.as_mut()).is_ready());
}

#[tokio::test]
async fn while_all_are_in_use_a_new_one_waits_and_the_first_that_is_idle_makes_room() {
    let connections = connections(2, 2);
    let [first, second] = [0; 2].map(|_| connections.admit(address("10.0.0.1")).unwrap());
    let (one, _two) = (first.begin(), second.begin());
    let mut room = Box::pin(connections.room());
    assert!(futures_util::poll!(room.as_mut()).is_pending());
    assert!(!is_told(&first).await && !is_told(&second).await);
    drop(one);
    assert!(futures_util::poll!(room.as_mut()).is_pending());
    assert!(is_told(&first).await && !is_told(&second).await);
    drop(first);
    assert!(futures_util::poll!(room.as_mut()).is_ready());
}

#[tokio::test]
async fn a_connection_that_was_told_to_end_answers_a_request_that_arrived_meanwhile() {
    let connections = connections(2, 2);
    let [first, second] = [0; 2].map(|_| connections.admit(address("10.0.0.1")).unwrap());
    let mut room = Box::pin(connections.room());
    assert!(futures_util::poll!(room.as_mut()).is_pending());
    let _request = first.begin();
    assert!(!is_told(&first).await);
    assert!(futures_util::poll!(room.as_mut()).is_pending());
    assert!(is_told(&second).await, "another one makes room");
}

#[tokio::test]
async fn one_client_has_its_share_and_others_are_let_in() {
    let connections = connections(100, 2);
    let mallory = address("203.0.113.9");
    let [first, second] = [0; 2].map(|_| connections.admit(mallory).unwrap());
    let _busy = first.begin();
    // An idle one of its own makes room.
    let third = connections.admit(mallory).unwrap();
    assert!(is_told(&second).await && !is_told(&third).await);
    drop(second);
    let _busy = third.begin();
    assert!(connections.admit(mallory).is_none());
    assert!(connections.admit(address("203.0.113.10")).is_some());
    drop(first);
    assert!(connections.admit(mallory).is_some());
}

#[tokio::test]
async fn an_ipv6_network_is_one_client_and_proxies_and_this_machine_are_none() {
    let connections = connections(100, 1);
    let kept = connections.admit(address("2001:db8:1:2::1")).unwrap();
    let _busy = kept.begin();
    assert!(connections.admit(address("2001:db8:1:2:ffff::9")).is_none());
    assert!(connections.admit(address("2001:db8:1:3::1")).is_some());
    for uncounted in [address("192.0.2.7"), address("127.0.0.1"), address("::1"), None] {
        let tickets = [0; 5].map(|_| connections.admit(uncounted).unwrap());
        let _busy = tickets.each_ref().map(Ticket::begin);
    }
}
