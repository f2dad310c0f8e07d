//! Options of objects in S3: encryption, storage class, owner, and conditional writes.
//!
//! Start at [`every_object_is_kept_as_configured`].

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use super::cloud_server::{CloudServer, IN_PIECES, operation_name};
use crate::cache::Cache;
use crate::protocol::{digest, noise};
use crate::runner::Bench;
use crate::stores::cloud::Cloud;

/// Encryption, storage class and owner are sent with each request that makes an object and with no other request, and
/// the store keeps them.
pub(in crate::cases) async fn every_object_is_kept_as_configured(bench: &Bench<'_>) -> Result<()> {
    const ENCRYPTION: &str = "x-amz-server-side-encryption";
    const KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";
    const CLASS: &str = "x-amz-storage-class";
    const ACL: &str = "x-amz-acl";
    let cloud = Cloud::start(&Cache::open()?, bench.dir).await?;
    let key = "arn:aws:kms:eu-test-1:123456789012:key/registry";
    // The keys of the configuration, the way the large layer is copied, and the headers that are sent.
    let rows = [
        ("nothing", String::new(), "copy", vec![]),
        (
            "encrypt",
            "encrypt: true".to_owned(),
            "copy",
            vec![(ENCRYPTION, "AES256")],
        ),
        (
            "encrypt-in-pieces",
            format!("encrypt: true, {IN_PIECES}"),
            "part by copy",
            vec![(ENCRYPTION, "AES256")],
        ),
        (
            "keyid",
            format!("encrypt: true, keyid: \"{key}\""),
            "copy",
            vec![(ENCRYPTION, "aws:kms"), (KEY, key)],
        ),
        (
            "keyid-in-pieces",
            format!("encrypt: true, keyid: \"{key}\", {IN_PIECES}"),
            "part by copy",
            vec![(ENCRYPTION, "aws:kms"), (KEY, key)],
        ),
        (
            "class",
            "storageclass: standard_ia, objectacl: bucket-owner-full-control".to_owned(),
            "copy",
            vec![(CLASS, "STANDARD_IA"), (ACL, "bucket-owner-full-control")],
        ),
        (
            "class-in-pieces",
            format!("storageclass: REDUCED_REDUNDANCY, {IN_PIECES}"),
            "part by copy",
            vec![(CLASS, "REDUCED_REDUNDANCY")],
        ),
    ];
    for (row, keys, copied, expected) in rows {
        let proved = async {
            let section = cloud.section(row, &format!("{}, {keys}", cloud.keys()));
            let server = CloudServer::start(bench, row, &cloud, section, &[]).await?;
            cloud.requests().await?;
            server.pushes(1).await?;
            let mut operations = BTreeSet::new();
            for request in cloud.requests().await? {
                ensure!(request.refused.is_none(), "refused: {request:?}");
                let operation = operation_name(&request);
                operations.insert(operation);
                let makes = matches!(operation, "put" | "create" | "copy");
                for name in [ENCRYPTION, KEY, CLASS, ACL] {
                    let said = request.headers.get(name).map(String::as_str);
                    let wanted = expected
                        .iter()
                        .find(|(one, _)| *one == name)
                        .map(|(_, value)| *value);
                    let wanted = wanted.filter(|_| makes);
                    ensure!(
                        said == wanted,
                        "{name}: expected {wanted:?}, sent {said:?}: {request:?}"
                    );
                }
            }
            for operation in ["put", "create", "part", "complete", copied] {
                ensure!(
                    operations.contains(operation),
                    "no {operation} was sent, only {operations:?}"
                );
            }
            server.pulls().await?;
            let mut count = 0;
            for (object, headers) in cloud.objects().await? {
                if !object.starts_with(&format!("{row}/docker/registry/v2/")) {
                    continue;
                }
                count += 1;
                for name in [ENCRYPTION, KEY, CLASS] {
                    let has = headers.get(name).map(String::as_str);
                    let wanted = expected
                        .iter()
                        .find(|(one, _)| *one == name)
                        .map(|(_, value)| *value);
                    ensure!(has == wanted, "{object}: {name}: expected {wanted:?}, is {has:?}");
                }
            }
            // The objects: layers, their configuration, the manifest, a link for each, and the links of the tag.
            ensure!(count >= 12, "only {count} objects");
            Ok(count)
        };
        let count = proved.await.with_context(|| format!("with {row}"))?;
        bench.note(format!("{row}: {count} objects as configured"));
    }
    Ok(())
}

/// On a store that refuses or ignores conditional writes everything works, except that it is not certain which of two
/// owners was first.
pub(in crate::cases) async fn a_store_without_conditions(bench: &Bench<'_>) -> Result<()> {
    let cloud = Cloud::start(&Cache::open()?, bench.dir).await?;
    for how in ["refused", "ignored"] {
        let proved = async {
            cloud.want(&json!({"conditions": how})).await?;
            let section = cloud.section(how, &cloud.keys());
            let owner = |name: &str| [("REGISTRY_STORAGE_MAINTENANCE_OWNER", name.to_owned())];
            let server = CloudServer::start(bench, how, &cloud, section.clone(), &owner("first")).await?;
            // Chunks with a range have a record, which is replaced by a conditional write.
            let blob = noise(7, 3_000_000);
            let repository = server.repository("conditions/none");
            let mut session = repository.start().await?;
            for part in [blob.slice(..1_000_000), blob.slice(1_000_000..2_000_000)] {
                session = repository.append(&session, part).await?;
            }
            repository
                .finish_with(&session, &digest(&blob), blob.slice(2_000_000..))
                .await?;
            ensure!(repository.blob(&digest(&blob)).await? == blob, "the blob differs");
            cloud.requests().await?;
            server.pushes(1).await?;
            server.pulls().await?;
            let conditions = cloud.requests().await?;
            let conditions = conditions
                .iter()
                .filter(|request| request.headers.keys().any(|name| name.starts_with("if-")))
                .count();
            let log = server.log()?;
            let told = log.matches("does not know conditional writes").count();
            if how == "refused" {
                ensure!(conditions == 0, "asked {conditions} times more");
                ensure!(told == 1, "told {told} times:\n{log}");
            }
            ensure!(
                !log.contains("nothing can be pushed"),
                "taken for a fault:\n{log}"
            );
            let second = format!("{how}-second");
            let started = CloudServer::start(bench, &second, &cloud, section, &owner("second")).await;
            let Err(error) = started else {
                bail!("a second owner was let in");
            };
            let said = format!("{error:#}");
            ensure!(said.contains("first"), "the second owner was told: {said}");
            Ok(())
        };
        proved.await.with_context(|| format!("conditions {how}"))?;
    }
    Ok(())
}
