use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::stream;
use tokio::sync::mpsc;

use super::*;
use crate::storage;

/// Records the sizes of the blocks that are written to it.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<usize>>>);

#[async_trait]
impl Writer for Written {
    fn size(&self) -> u64 {
        self.0.lock().unwrap().iter().sum::<usize>() as u64
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), storage::Error> {
        self.0.lock().unwrap().push(bytes.len());
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), storage::Error> {
        Ok(())
    }
}

const FRAME: usize = 8 * 1024;

fn frame() -> Result<Bytes, BodyError> {
    Ok(Bytes::from(vec![7; FRAME]))
}

async fn written(memory: &MemoryBudget, frames: usize) -> Vec<usize> {
    let writer = Written::default();
    let mut body = stream::iter((0..frames).map(|_| frame()));
    let received = store_body(memory, &mut writer.clone(), &mut Hasher::new(), &mut body)
        .await
        .unwrap();
    assert_eq!(received.length, (frames * FRAME) as u64);
    assert_eq!(writer.size(), received.length);
    std::mem::take(&mut writer.0.lock().unwrap())
}

#[tokio::test]
async fn blocks_grow_while_the_client_keeps_up_and_are_small_without_a_budget() {
    let memory = MemoryBudget::new(4 << 20);
    let sizes = written(&memory, 512).await;
    assert_eq!(
        sizes[..4],
        [64 << 10, 128 << 10, 256 << 10, 512 << 10],
        "{sizes:?}"
    );
    assert!(sizes.iter().all(|size| *size <= BLOCK_MAX), "{sizes:?}");
    assert_eq!(memory.left(), 4 << 20);
    let sizes = written(&MemoryBudget::new(0), 512).await;
    assert!(sizes.iter().all(|size| *size <= BLOCK_MIN), "{sizes:?}");
    // As large as the budget allows.
    let sizes = written(&MemoryBudget::new(3 * BLOCK_FIRST), 512).await;
    assert!(sizes.iter().all(|size| *size <= 2 * BLOCK_FIRST), "{sizes:?}");
    assert_eq!(written(&memory, 1).await, [FRAME]);
}

#[tokio::test]
async fn nothing_is_held_for_a_client_that_stops_sending() {
    let memory = MemoryBudget::new(4 << 20);
    let writer = Written::default();
    let (sender, receiver) = mpsc::unbounded_channel();
    let task = tokio::spawn({
        let (memory, mut writer) = (memory.clone(), writer.clone());
        async move {
            let mut body = frames(receiver);
            store_body(&memory, &mut writer, &mut Hasher::new(), &mut body)
                .await
                .unwrap()
                .length
        }
    });
    for _ in 0..75 {
        sender.send(frame()).unwrap();
    }
    while writer.size() < 75 * FRAME as u64 || memory.left() < 4 << 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sender.send(frame()).unwrap();
    drop(sender);
    assert_eq!(task.await.unwrap(), 76 * FRAME as u64);
}

fn frames(
    receiver: mpsc::UnboundedReceiver<Result<Bytes, BodyError>>,
) -> impl Stream<Item = Result<Bytes, BodyError>> + Unpin {
    Box::pin(stream::unfold(receiver, async |mut receiver| {
        let next = receiver.recv().await?;
        Some((next, receiver))
    }))
}
