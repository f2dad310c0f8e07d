use super::*;

const SIZE: usize = 16 << 20;

#[test]
fn room_is_free_again_when_the_blocks_memory_is() {
    let memory = ResponseMemory::new(SIZE);
    let connection = memory.http1();
    let block = connection
        .try_reserve(64 << 10)
        .unwrap()
        .fill(vec![0; 1000].into());
    assert_eq!(
        memory.held(),
        1000,
        "bytes that the block does not need are free at once"
    );
    let part = block.slice(10..20);
    drop(block);
    assert_eq!(memory.held(), 1000, "a part of the block keeps all of it");
    drop(part);
    assert_eq!(memory.held(), 0);
}

/// The number of blocks that a connection can reserve when none is ever freed, and their bytes.
fn hoarded(connection: &ConnectionMemory) -> (usize, usize) {
    let reservations: Vec<Reservation> = std::iter::from_fn(|| connection.try_reserve(BLOCK_MAX)).collect();
    (
        reservations.len(),
        reservations.iter().map(Reservation::size).sum(),
    )
}

#[test]
fn a_connection_that_takes_nothing_holds_no_more_than_its_part() {
    let memory = ResponseMemory::new(64 << 20);
    let (_, bytes) = hoarded(&memory.http1());
    assert!(bytes <= 256 << 10, "{bytes}");
    let (blocks, bytes) = hoarded(&memory.http2());
    assert!(bytes <= SHARE_HTTP2, "{bytes}");
    // Two for each of some sixty streams: one that is being sent and one that hyper holds ready.
    assert!(blocks >= 100, "{blocks}");
    assert_eq!(memory.held(), 0);
}

#[test]
fn however_many_connections_take_nothing_a_new_one_finds_room() {
    let memory = ResponseMemory::new(32 << 20);
    let mut reservations = Vec::new();
    for _ in 0..150 {
        let connection = memory.http2();
        reservations.extend(std::iter::from_fn(|| connection.try_reserve(BLOCK_MAX)));
    }
    assert!(memory.held() <= 32 << 20);
    assert!(memory.http1().try_reserve(BLOCK_MAX).is_some());
}

#[tokio::test]
async fn an_answer_waits_for_room_and_others_learn_that_memory_is_short() {
    let memory = ResponseMemory::new(SIZE);
    let all = memory.0.free.clone().try_acquire_many_owned(SIZE as u32).unwrap();
    let connection = memory.http1();
    assert!(connection.try_reserve(BLOCK_MAX).is_none() && !memory.is_short());
    let mut waiting = connection.reserve_when_free();
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    assert!(memory.is_short());
    drop(all);
    assert_eq!(waiting.await.size(), BLOCK_MIN);
    assert!(!memory.is_short());
}

#[test]
fn a_stream_is_stalled_while_a_block_waits_and_none_is_taken() {
    let memory = ResponseMemory::new(SIZE);
    let unsent = Arc::<UnsentBlocks>::default();
    let stream = memory.http2().of_stream(Arc::clone(&unsent));
    assert_eq!(unsent.stalled_for(), None);
    let block = || stream.try_reserve(BLOCK_MIN).unwrap().fill(vec![0; 10].into());
    let (first, second) = (block(), block());
    assert!(unsent.stalled_for().is_some());
    drop(first);
    assert!(unsent.stalled_for().is_some());
    drop(second);
    assert_eq!(unsent.stalled_for(), None);
}
