//! The CA of a Registry: renewed before clients are shown what it signs, or provided by the author.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use operator_api::Registry;
use serde_json::json;

use crate::cluster::Cluster;
use crate::operator::{Operator, create, merge, object, reason, registry, rolling_out, secret};

fn entry(secret: &Secret, key: &str) -> Option<String> {
    let ByteString(bytes) = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.clone()).ok()
}

fn count(text: &str) -> usize {
    text.matches("BEGIN CERTIFICATE").count()
}

async fn bundle(cluster: &Cluster) -> Result<String> {
    let map = cluster.api::<ConfigMap>().get("harbour-ca").await?;
    map.data
        .and_then(|mut data| data.remove("ca.crt"))
        .context("no bundle")
}

#[tokio::test]
async fn a_new_ca_is_published_before_it_signs_and_the_old_one_stays_published() -> Result<()> {
    let cluster = Cluster::with_namespace("ca-renewed").await?;
    let _operator = Operator::start(&cluster);
    create(
        &cluster,
        &registry("harbour", json!({ "ingress": { "hosts": ["a.example"] } })),
    )
    .await?;
    rolling_out(&cluster, "harbour").await?;
    let old = bundle(&cluster).await?;
    assert_eq!(count(&old), 1);
    let certificate = cluster.api::<Secret>().get("harbour-tls").await?;

    let ask = json!({ "metadata": { "annotations": { "berth.dev/renew-ca": "leaked" } } });
    merge::<Registry>(&cluster, "harbour", ask).await?;
    object(&cluster, "harbour-upstream", "trusts both", |found: &Secret| {
        (count(&entry(found, "ca.crt")?) == 2).then_some(())
    })
    .await?;
    let both = bundle(&cluster).await?;
    assert!(count(&both) == 2 && both.contains(old.trim()));
    let shown = cluster.api::<Secret>().get("harbour-tls").await?;
    assert_eq!(
        entry(&shown, "tls.crt"),
        entry(&certificate, "tls.crt"),
        "it signs already"
    );

    // The ten minutes have gone.
    let past =
        json!({ "metadata": { "annotations": { "berth.dev/next-ca-signs-from": "2020-01-01T00:00:00Z" } } });
    let announced = merge::<Secret>(&cluster, "harbour-ca-key", past).await?;
    let next = entry(&announced, "next.crt").context("no next CA")?;
    let renewed = object(
        &cluster,
        "harbour-tls",
        "is signed by the new CA",
        |found: &Secret| {
            (entry(found, "tls.crt") != entry(&certificate, "tls.crt")).then(|| entry(found, "tls.crt"))
        },
    )
    .await?;
    object(&cluster, "harbour-live", "has it", |found: &Secret| {
        (entry(found, "tls.crt") == renewed).then_some(())
    })
    .await?;
    let after = bundle(&cluster).await?;
    assert!(count(&after) == 2 && after.contains(old.trim()) && after.contains(next.trim()));
    let key = cluster.api::<Secret>().get("harbour-ca-key").await?;
    assert_eq!(entry(&key, "ca.crt").as_deref(), Some(next.as_str()));
    let keys: BTreeSet<String> = key.data.unwrap_or_default().into_keys().collect();
    assert_eq!(keys, BTreeSet::from(["ca.crt".to_owned(), "tls.key".to_owned()]));
    Ok(())
}

#[tokio::test]
async fn a_ca_of_the_authors_signs_and_one_that_cannot_is_told() -> Result<()> {
    let cluster = Cluster::with_namespace("ca-provided").await?;
    let _operator = Operator::start(&cluster);
    // The CA of one Registry is given to another.
    create(&cluster, &registry("pier", json!({}))).await?;
    let ingress = json!({ "ingress": { "hosts": ["a.example"], "tls": { "mode": "Reencrypt" } } });
    create(&cluster, &registry("harbour", ingress)).await?;
    rolling_out(&cluster, "pier").await?;
    rolling_out(&cluster, "harbour").await?;
    let old = bundle(&cluster).await?;
    let pier = cluster.api::<Secret>().get("pier-ca-key").await?;
    let (ca, key) = (
        entry(&pier, "ca.crt").context("no CA")?,
        entry(&pier, "tls.key").context("no key")?,
    );
    create(
        &cluster,
        &secret("our-ca", &[("tls.crt", &ca), ("tls.key", &key)]),
    )
    .await?;
    let tls = cluster.api::<Secret>().get("pier-tls").await?;
    let leaf = (
        entry(&tls, "tls.crt").context("none")?,
        entry(&tls, "tls.key").context("none")?,
    );
    create(
        &cluster,
        &secret("no-ca", &[("tls.crt", &leaf.0), ("tls.key", &leaf.1)]),
    )
    .await?;

    let sign_by =
        |name: &str| json!({ "spec": { "tls": { "selfSigned": { "caSecret": { "name": name } } } } });
    merge::<Registry>(&cluster, "harbour", sign_by("our-ca")).await?;
    object(&cluster, "harbour-ca", "has both", |found: &ConfigMap| {
        let text = found.data.as_ref()?.get("ca.crt")?;
        (text.contains(ca.trim()) && text.contains(old.trim())).then_some(())
    })
    .await?;
    // Pods are given the new certificate after the Ingress controller has been told to trust both, and show the old one until
    // the kubelet has followed.
    object(&cluster, "harbour-upstream", "trusts both", |found: &Secret| {
        let trusted = entry(found, "ca.crt")?;
        (trusted.contains(ca.trim()) && trusted.contains(old.trim())).then_some(())
    })
    .await?;
    let before = object(&cluster, "harbour-tls", "names its CA", |found: &Secret| {
        entry(found, "ca.crt")?
            .contains(ca.trim())
            .then(|| entry(found, "tls.crt"))
    })
    .await?;
    merge::<Registry>(&cluster, "harbour", sign_by("no-ca")).await?;
    let [ready, reconciling, _] = reason(&cluster, "harbour", "CertificateInvalid").await?;
    let told = format!("{} {}", ready.message, reconciling.message);
    assert!(
        told.contains(
            "Secret `no-ca` of `spec.tls.selfSigned.caSecret` cannot be used: the certificate is not a CA's"
        ),
        "{told}"
    );
    let after = cluster.api::<Secret>().get("harbour-tls").await?;
    assert_eq!(entry(&after, "tls.crt"), before);
    Ok(())
}
