//! Referrers that distribution pushes or deletes. It stores manifests with a subject, and knows no list of referrers.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};

use super::content::{MANIFEST, RawClient, manifest};
use super::shared_store::{PEERS, SharedStore};
use crate::peers::ServerKind;
use crate::protocol::digest;
use crate::runner::Bench;

/// The repository.
const NAME: &str = "refer/image";

/// A peer pushes and deletes referrers in our tree. Our list is right after each change, on a server that ran all the
/// time and on one that starts anew.
pub(in super::super) async fn referrers_of_another_server_are_seen(bench: &Bench<'_>) -> Result<()> {
    let mut looks = 0;
    for peer in PEERS {
        let store = SharedStore::new(bench, &format!("refer-{}", peer.name())).await?;
        let mine = store.serve(ServerKind::Ours).await?;
        let own = RawClient {
            store: &store,
            server: &mine,
        };
        own.blob(NAME, b"content", &digest(b"content")).await?;
        let image = own.image(NAME, "1", &json!({}), b"content").await?;
        let subject = json!({"mediaType": MANIFEST, "digest": digest(&image), "size": image.len()});
        let referring =
            |by: &str| json!({"subject": subject, "artifactType": format!("application/vnd.example.{by}")});
        let path = |manifest: &Bytes| format!("{NAME}/manifests/{}", digest(manifest));

        let theirs = store.serve(peer).await?;
        let other = RawClient {
            store: &store,
            server: &theirs,
        };
        let mut check = async |step: &str, expected: &[&Bytes]| -> Result<()> {
            // The server that ran all the time, and one that reads only the folder.
            let fresh = store.serve(ServerKind::Ours).await?;
            for server in [&mine, &fresh] {
                let list = list(
                    &RawClient {
                        store: &store,
                        server,
                    },
                    &image,
                )
                .await?;
                let mut wanted: Vec<String> = expected.iter().map(|manifest| digest(manifest)).collect();
                wanted.sort_unstable();
                ensure!(
                    list == wanted,
                    "{step} with {}: expected {wanted:?}, got {list:?}",
                    peer.name()
                );
                looks += 1;
            }
            Ok(())
        };
        check("at first", &[]).await?;
        let first = other.image(NAME, "", &referring("first"), b"content").await?;
        check("the peer pushed one", &[&first]).await?;
        let second = own.image(NAME, "", &referring("second"), b"content").await?;
        check("ours pushed one", &[&first, &second]).await?;
        let tagged = other
            .image(NAME, "signature", &referring("third"), b"content")
            .await?;
        check("the peer pushed one with a tag", &[&first, &second, &tagged]).await?;
        other
            .expect(Method::DELETE, &path(&second), "", Bytes::new(), 202)
            .await?;
        check("the peer deleted ours", &[&first, &tagged]).await?;
        other
            .expect(Method::DELETE, &path(&first), "", Bytes::new(), 202)
            .await?;
        check("the peer deleted its own", &[&tagged]).await?;
        own.expect(Method::DELETE, &path(&tagged), "", Bytes::new(), 202)
            .await?;
        check("ours deleted the peer's", &[]).await?;
        let again = other.image(NAME, "", &referring("second"), b"content").await?;
        ensure!(again == second, "the same manifest has other bytes");
        check("the peer pushed ours again", &[&second]).await?;

        // A subject that is pushed after its referrer.
        let late = manifest(b"content", &json!({"annotations": {"late": "yes"}}));
        let subject = json!({"mediaType": MANIFEST, "digest": digest(&late), "size": late.len()});
        let early = other
            .image(NAME, "", &json!({"subject": subject}), b"content")
            .await?;
        ensure!(
            list(&own, &late).await? == [digest(&early)],
            "a referrer without its subject is not listed"
        );
    }
    bench.note(format!("{looks} lists after pushes and deletions of both peers"));
    Ok(())
}

/// The digests in the list of referrers, in order.
async fn list(client: &RawClient<'_>, subject: &Bytes) -> Result<Vec<String>> {
    let path = format!("{NAME}/referrers/{}", digest(subject));
    let body = client.expect(Method::GET, &path, "", Bytes::new(), 200).await?;
    let list: Value = serde_json::from_slice(&body)?;
    let manifests = list["manifests"].as_array().with_context(|| format!("{list}"))?;
    let mut digests = Vec::new();
    for manifest in manifests {
        let digest = manifest["digest"]
            .as_str()
            .context("a descriptor without a digest")?;
        // Every listed referrer can be read.
        let path = format!("{NAME}/manifests/{digest}");
        client.expect(Method::GET, &path, "", Bytes::new(), 200).await?;
        digests.push(digest.to_owned());
    }
    digests.sort_unstable();
    Ok(digests)
}
