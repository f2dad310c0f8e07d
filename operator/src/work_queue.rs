//! The queue of Registries whose reconcile should start. Watches and background work add to it; the controller takes from
//! it, and joins what comes close together. Start at [`WorkQueue`].

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::mpsc;

/// The way into the queue. Clones lead to the same one.
#[derive(Clone, Debug)]
pub struct WorkQueue(mpsc::UnboundedSender<Item>);

/// A Registry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Item {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl WorkQueue {
    /// A queue, and what is taken from it. The stream ends when the last way into the queue is gone.
    pub fn new() -> (Self, impl Stream<Item = Item> + Send + Unpin + 'static) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let items = unfold(receiver, async |mut receiver: mpsc::UnboundedReceiver<Item>| {
            Some((receiver.recv().await?, receiver))
        });
        (Self(sender), Box::pin(items))
    }

    /// Starts a reconcile of this Registry. One that runs is followed by another.
    pub fn add(&self, namespace: &str, name: &str) {
        let item = Item {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        // Without a receiver the operator stops.
        let _ = self.0.send(item);
    }
}
