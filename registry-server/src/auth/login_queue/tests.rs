use super::super::credential_cache::CredentialCache;
use super::*;

/// A queue for one check at a time.
fn queue(waiting_max: usize) -> Arc<LoginQueue> {
    let timeout = Duration::from_secs(600);
    Arc::new(LoginQueue::with(1, waiting_max, timeout, LoginMetrics::default()))
}

/// A login of user number `user` from host number `host` of a network.
fn login(host: u8, user: u64) -> Login {
    Login {
        client: ClientKey::V4([192, 0, 2, host]),
        user,
        fingerprint: CredentialCache::new().fingerprint("user", b"password", "hash"),
        verified_before: false,
    }
}

/// Takes the only permit, so that every other login has to wait.
fn occupied(queue: &Arc<LoginQueue>) -> Permit {
    let mut place = queue.enter(login(0, 0));
    assert_eq!(answer(&mut place), Some(Ok(Granted::Check)));
    place.into_permit()
}

fn answer(place: &mut Place) -> Option<Result<Granted, Overload>> {
    place.receiver().try_recv().ok()
}

/// The order in which the places are admitted. Each is named by its position in `places`.
fn order(permit: Permit, places: Vec<Place>) -> Vec<usize> {
    let mut places: Vec<(usize, Place)> = places.into_iter().enumerate().collect();
    let mut order = Vec::new();
    let mut permit = Some(permit);
    while permit.take().is_some() {
        let next = places
            .iter_mut()
            .position(|(_, place)| answer(place) == Some(Ok(Granted::Check)));
        if let Some(next) = next {
            let (number, place) = places.remove(next);
            order.push(number);
            permit = Some(place.into_permit());
        }
    }
    assert!(places.is_empty(), "{} were never admitted", places.len());
    order
}

#[test]
fn a_login_from_another_address_waits_for_one_check_of_a_storm() {
    let queue = queue(256);
    let permit = occupied(&queue);
    let mut places: Vec<Place> = (0..200).map(|user| queue.enter(login(1, user))).collect();
    places.push(queue.enter(login(2, 7)));
    let turn = order(permit, places).iter().position(|place| *place == 200);
    assert!(turn <= Some(1), "it was number {turn:?}");
}

#[test]
fn addresses_take_turns() {
    let queue = queue(256);
    let permit = occupied(&queue);
    let hosts = [1, 1, 1, 2, 2, 3];
    let places = hosts
        .map(|host| queue.enter(login(host, 7)))
        .into_iter()
        .collect();
    let order = order(permit, places);
    assert_eq!(
        order.iter().map(|place| hosts[*place]).collect::<Vec<_>>(),
        [1, 2, 3, 1, 2, 1]
    );
}

#[test]
fn at_one_address_another_user_is_next_after_a_storm_on_one_name() {
    let queue = queue(256);
    let permit = occupied(&queue);
    let mut places: Vec<Place> = (0..100).map(|_| queue.enter(login(1, 7))).collect();
    places.push(queue.enter(login(1, 8)));
    places.extend((0..100).map(|_| queue.enter(login(1, 7))));
    let turn = order(permit, places).iter().position(|place| *place == 100);
    assert!(turn <= Some(1), "it was number {turn:?}");
}

#[test]
fn at_one_address_the_newest_of_many_names_is_next() {
    let queue = queue(256);
    let permit = occupied(&queue);
    let places = (1..=100).map(|user| queue.enter(login(1, user))).collect();
    assert_eq!(order(permit, places).first(), Some(&99));
}

#[test]
fn the_newest_login_of_a_user_under_a_storm_is_next() {
    let queue = queue(256);
    let permit = occupied(&queue);
    let places = (0..100).map(|_| queue.enter(login(1, 7))).collect();
    assert_eq!(order(permit, places).first(), Some(&99));
}

#[test]
fn credentials_that_were_right_before_go_ahead_of_all() {
    let queue = queue(256);
    let permit = occupied(&queue);
    let verified = Login {
        verified_before: true,
        ..login(1, 7)
    };
    let mut places: Vec<Place> = (0..100).map(|_| queue.enter(login(1, 7))).collect();
    places.push(queue.enter(verified));
    places.extend((0..100).map(|_| queue.enter(login(1, 7))));
    assert_eq!(order(permit, places).first(), Some(&100));
}

#[test]
fn whoever_waits_with_credentials_that_were_found_right_waits_no_longer() {
    let queue = queue(256);
    let _permit = occupied(&queue);
    let (same, other) = (login(1, 7), login(1, 7));
    let mut places = [queue.enter(same), queue.enter(other), queue.enter(same)];
    queue.admit_verified(&same.fingerprint);
    let answers = places.each_mut().map(answer);
    assert_eq!(
        answers,
        [Some(Ok(Granted::Verified)), None, Some(Ok(Granted::Verified))]
    );
}

#[test]
fn in_a_full_queue_the_address_with_most_logins_makes_room() {
    let queue = queue(5);
    let _permit = occupied(&queue);
    // An IPv6 network counts as one address, however many of its hosts send logins.
    let storm = |host: &str| Login {
        client: Some(host.parse().unwrap()).into(),
        ..login(0, 7)
    };
    let mut places: Vec<Place> = vec![
        queue.enter(login(1, 1)),
        queue.enter(login(1, 2)),
        queue.enter(storm("2001:db8::1")),
        queue.enter(storm("2001:db8::2")),
        queue.enter(storm("2001:db8:0:0:ffff::3")),
        queue.enter(login(2, 3)),
        queue.enter(storm("2001:db8::4")),
    ];
    let answers: Vec<_> = places.iter_mut().map(answer).collect();
    let gone = Some(Err(Overload::Client));
    assert_eq!(answers, [None, None, gone, gone, None, None, None]);
}

#[test]
fn an_address_with_one_login_is_not_blamed_for_the_overload() {
    let queue = queue(2);
    let _permit = occupied(&queue);
    let mut places = [1, 2, 3].map(|host| queue.enter(login(host, 7)));
    assert_eq!(
        places.each_mut().map(answer),
        [Some(Err(Overload::Server)), None, None]
    );
}

#[tokio::test]
async fn a_login_whose_time_is_over_is_told_whether_its_address_sends_too_many() {
    let queue = Arc::new(LoginQueue::with(1, 256, Duration::ZERO, LoginMetrics::default()));
    let permit = occupied(&queue);
    let alone = queue.admit(login(2, 7)).await.unwrap_err();
    let others = [queue.enter(login(1, 7)), queue.enter(login(1, 8))];
    let one_of_many = queue.admit(login(1, 9)).await.unwrap_err();
    assert_eq!((alone, one_of_many), (Overload::Server, Overload::Client));
    drop((permit, others));
    assert_is_empty(&queue);
}

#[track_caller]
fn assert_is_empty(queue: &LoginQueue) {
    let state = queue.lock();
    let left = (
        state.running,
        state.waiting.len(),
        state.clients.len(),
        state.users.len(),
    );
    assert_eq!(left, (0, 0, 0, 0));
}

#[test]
fn a_login_that_is_dropped_gives_up_its_place_or_its_turn() {
    let queue = queue(256);
    let permit = occupied(&queue);
    let (waiting, granted) = (queue.enter(login(1, 7)), queue.enter(login(2, 7)));
    drop(waiting);
    // The permit goes to the second login, which is dropped before it receives the permit.
    drop(permit);
    let mut third = queue.enter(login(3, 7));
    assert_eq!(answer(&mut third), None);
    drop(granted);
    assert_eq!(answer(&mut third), Some(Ok(Granted::Check)));
    drop(third.into_permit());
    assert_is_empty(&queue);
}
