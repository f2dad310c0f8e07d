//! Collections in a loop while images are pushed whose blobs are garbage at that moment.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use futures_util::TryStreamExt as _;

use super::*;
use crate::registry::{Accepts, Error};
use crate::storage::ReadRange;

const PUSHES: usize = 200;
const AT_ONCE: usize = 4;
const LAYERS: usize = 3;

#[derive(Debug, Default)]
struct Figures {
    pushed: AtomicU64,
    /// Blobs that existed and were not sent.
    reused: AtomicU64,
    /// Blobs that were collected and sent again.
    resent: AtomicU64,
    /// Manifests that were refused because a blob was collected.
    refused: AtomicU64,
    collections: AtomicU64,
    removed: AtomicU64,
}

fn plus(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

fn repository(number: usize) -> RepositoryName {
    name(if number.is_multiple_of(2) {
        "team/app"
    } else {
        "tool"
    })
}

fn layers(number: usize) -> impl Iterator<Item = (Digest, Bytes)> {
    (0..LAYERS).map(move |layer| {
        let content = Bytes::from(format!("layer {layer} of image {number}"));
        (Digest::sha256(&content), content)
    })
}

fn tag(number: usize) -> Reference {
    Reference::parse(&format!("v{number}")).unwrap()
}

/// Leaves the blobs of an image as a push that failed long ago does: they exist and are linked, and nothing refers to
/// them.
async fn leave_garbage(registry: &Registry, folder: &Path, number: usize) {
    for (digest, content) in layers(number) {
        let repository = repository(number);
        push_blob(registry, &repository, &digest, &content).await;
        for place in [
            ObjectPath::BlobData { digest },
            ObjectPath::LayerLink { repository, digest },
        ] {
            // A collection may have removed it already.
            if let Ok(file) = std::fs::File::options().write(true).open(path(folder, &place)) {
                file.set_modified(SystemTime::now() - HOUR * 2).unwrap();
            }
        }
    }
}

/// Pushes as a client does: asks for each blob, sends the missing ones, then the manifest.
async fn push_once(registry: &Registry, number: usize, figures: &Figures) -> Result<(), Error> {
    let repository = repository(number);
    let mut descriptors = Vec::new();
    for (digest, content) in layers(number) {
        match registry.head_blob(&repository, &digest).await {
            Ok(_) => plus(&figures.reused, 1),
            Err(Error::BlobUnknown { .. }) => {
                push_blob(registry, &repository, &digest, &content).await;
                plus(&figures.resent, 1);
            }
            Err(error) => return Err(error),
        }
        descriptors.push(descriptor(&digest, content.len()));
    }
    let config = descriptors.pop().unwrap();
    let text = format!(
        r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#,
        descriptors.join(",")
    );
    let (reference, media_type) = (tag(number), MediaType::OCI_MANIFEST);
    let pushed = registry.put_manifest(&repository, &reference, &media_type, text.into(), &[]);
    pushed.await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_pushes_during_collections_in_a_loop_leave_no_broken_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let registry = in_folder(folder.path());
    let figures = Arc::new(Figures::default());
    let done = Arc::new(AtomicBool::new(false));
    let collector = tokio::spawn({
        let (registry, figures, done) = (registry.clone(), Arc::clone(&figures), Arc::clone(&done));
        async move {
            let collecting = CollectionOptions {
                untagged: Untagged::Delete,
                live_server_policy: LiveServerPolicy::Ignore,
                ..CollectionOptions::default()
            };
            while !done.load(Ordering::Relaxed) {
                let collected = collect(&registry, &collecting).await;
                plus(&figures.collections, 1);
                plus(&figures.removed, collected.blobs_removed);
            }
        }
    });
    let numbers = Arc::new(AtomicUsize::new(0));
    let mut pushers = Vec::new();
    for _ in 0..AT_ONCE {
        let (registry, figures, numbers) = (registry.clone(), Arc::clone(&figures), Arc::clone(&numbers));
        let folder = folder.path().to_owned();
        pushers.push(tokio::spawn(async move {
            loop {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                if number >= PUSHES {
                    return;
                }
                leave_garbage(&registry, &folder, number).await;
                while let Err(error) = push_once(&registry, number, &figures).await {
                    assert!(
                        matches!(error, Error::ManifestReferences { .. }),
                        "push {number}: {error}"
                    );
                    plus(&figures.refused, 1);
                }
                plus(&figures.pushed, 1);
            }
        }));
    }
    for pusher in pushers {
        pusher.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    collector.await.unwrap();

    let mut broken = Vec::new();
    for number in 0..PUSHES {
        let repository = repository(number);
        let stored = registry
            .get_manifest(&repository, &tag(number), &Accepts::Anything)
            .await;
        if let Err(error) = stored {
            broken.push(format!("v{number}: {error}"));
        }
        for (digest, content) in layers(number) {
            match registry.get_blob(&repository, &digest, ReadRange::Full).await {
                Ok(blob) => {
                    let chunks: Vec<Bytes> = blob.content.try_collect().await.unwrap();
                    assert_eq!(chunks.concat(), content);
                }
                Err(error) => broken.push(format!("v{number}: {error}")),
            }
        }
    }
    println!("{} broken manifests; {figures:?}", broken.len());
    assert_eq!(broken, [] as [String; 0]);
    assert_eq!(figures.pushed.load(Ordering::Relaxed), PUSHES as u64);
    let met = [&figures.removed, &figures.reused].map(|figure| figure.load(Ordering::Relaxed) > 0);
    assert_eq!(met, [true, true], "pushes and collections never met: {figures:?}");
}
