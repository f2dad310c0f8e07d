//! Each Secret of a Registry is damaged in each way: it is mended or told, and the other children go on.

use anyhow::{Context as _, Result, ensure};
use e2e::wait::{Seen, wait_for};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, PostParams};
use operator_api::Registry;
use serde_json::json;

use crate::cluster::Cluster;
use crate::operator::{DEADLINE, Operator, USERS, create, htpasswd, registry, rolling_out, secret};

/// A way to damage a Secret: its name, and the change.
type Damage = (&'static str, fn(&mut Secret));

const DAMAGES: [Damage; 7] = [
    ("text", |secret| fill(secret, b"garbage")),
    ("bytes", |secret| fill(secret, &[0xff, 0, 0xfe])),
    ("nothing", |secret| fill(secret, b"")),
    ("pem", |secret| {
        fill(
            secret,
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        );
    }),
    ("keys", |secret| {
        // The API server insists on the two keys of this type.
        if secret.type_.as_deref() == Some("kubernetes.io/tls") {
            secret
                .data
                .iter_mut()
                .for_each(|data| drop(data.remove("ca.crt")));
            return fill(secret, b"");
        }
        let keys: Vec<String> = secret.data.iter().flatten().map(|(key, _)| key.clone()).collect();
        let other = keys
            .into_iter()
            .map(|key| (format!("x-{key}"), ByteString::default()));
        secret.data = Some(other.collect());
    }),
    ("type", |secret| {
        secret.type_ = Some("example.com/other".to_owned());
        fill(secret, b"garbage");
    }),
    ("immutable", |secret| {
        secret.immutable = Some(true);
        fill(secret, b"garbage");
    }),
];

fn fill(secret: &mut Secret, bytes: &[u8]) {
    for value in secret.data.iter_mut().flat_map(|data| data.values_mut()) {
        *value = ByteString(bytes.to_vec());
    }
}

/// Secrets with values that clients or Pods know: a new one is not made without a person's will.
fn is_told(name: &str) -> bool {
    ["-ca-key", "-http"].iter().any(|end| name.ends_with(end))
}

#[tokio::test]
async fn a_damaged_secret_is_mended_or_told_and_holds_up_no_other_child() -> Result<()> {
    let (first, second) = futures_util::join!(
        each_secret_is_damaged("damaged-a", &DAMAGES[..4]),
        each_secret_is_damaged("damaged-b", &DAMAGES[4..]),
    );
    let wrong: Vec<String> = [first, second]
        .into_iter()
        .filter_map(|ended| Some(format!("{:#}", ended.err()?)))
        .collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

async fn each_secret_is_damaged(namespace: &str, damages: &[Damage]) -> Result<()> {
    let cluster = Cluster::with_namespace(namespace).await?;
    let operator = Operator::start(&cluster);
    create(&cluster, &secret("users", &[("htpasswd", USERS)])).await?;
    let ingress = json!({ "hosts": ["a.example"], "tls": { "mode": "Reencrypt" } });
    let spec = json!({ "auth": htpasswd(), "ingress": ingress });
    create(&cluster, &registry("harbour", spec)).await?;
    rolling_out(&cluster, "harbour").await?;
    let api = cluster.api::<Secret>();
    let ours = ListParams::default().labels("berth.dev/registry=harbour");
    let good: Vec<Secret> = api.list(&ours).await?.items;
    ensure!(
        good.len() >= 7,
        "{:?}",
        good.iter().map(|secret| secret.name_any()).collect::<Vec<_>>()
    );
    let mut wrong = Vec::new();
    for (how, damage) in damages {
        for secret in &good {
            let name = secret.name_any();
            let damaged = anew(&cluster, secret, *damage).await?;
            cluster
                .api::<ServiceAccount>()
                .delete("harbour", &DeleteParams::default())
                .await?;
            let what = format!("Secret `{name}` to be mended: {how}");
            let mended = wait_for(&what, DEADLINE, async || {
                let account = cluster.api::<ServiceAccount>().get_opt("harbour").await?;
                if account.is_none() {
                    return Ok(Seen::NotYet("the ServiceAccount is not back".to_owned()));
                }
                let told = told(&cluster).await?;
                if is_told(&name) {
                    return Ok(match told.contains(&format!("`{name}`")) {
                        true => Seen::Done(()),
                        false => Seen::NotYet(told),
                    });
                }
                let now = api.get_opt(&name).await?;
                let keys = |secret: &Secret| -> Vec<String> {
                    let data = secret.data.iter().flatten();
                    data.map(|(key, _)| key.clone())
                        .filter(|key| !key.starts_with("x-"))
                        .collect()
                };
                let whole = now.as_ref().is_some_and(|now| {
                    let data = |key: &str| now.data.as_ref().and_then(|data| data.get(key)).cloned();
                    let changed = keys(secret).iter().all(|key| {
                        let before = damaged.data.as_ref().and_then(|data| data.get(key)).cloned();
                        data(key).is_some() && data(key) != before
                    });
                    changed
                        && keys(now) == keys(secret)
                        && now.type_ == secret.type_
                        && now.immutable == secret.immutable
                });
                Ok(match whole {
                    true => Seen::Done(()),
                    false => Seen::NotYet(format!("{told} {:?}", now.map(|now| (now.type_, now.immutable)))),
                })
            });
            wrong.extend(mended.await.err().map(|error| format!("{how}: {error:#}")));
            if is_told(&name) {
                anew(&cluster, secret, |_| {}).await?;
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    rolling_out(&cluster, "harbour")
        .await
        .context("all is well in the end")?;
    operator.stop().await
}

/// All sentences of the conditions.
async fn told(cluster: &Cluster) -> Result<String> {
    let found = cluster.api::<Registry>().get("harbour").await?;
    let conditions = found.status.into_iter().flat_map(|status| status.conditions);
    Ok(conditions
        .map(|condition| condition.message)
        .collect::<Vec<_>>()
        .join("\n"))
}

/// Makes a Secret anew with a change, as somebody with an editor or a backup does.
async fn anew(cluster: &Cluster, secret: &Secret, change: impl Fn(&mut Secret)) -> Result<Secret> {
    let api = cluster.api::<Secret>();
    let mut changed = secret.clone();
    let name = secret.name_any();
    change(&mut changed);
    changed.metadata.resource_version = None;
    changed.metadata.uid = None;
    changed.metadata.managed_fields = None;
    loop {
        let deleted = api.delete(&name, &DeleteParams::default()).await;
        if let Err(kube::Error::Api(status)) = &deleted
            && !status.is_not_found()
        {
            deleted?;
        }
        match api.create(&PostParams::default(), &changed).await {
            // The operator was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            created => return created.context("cannot damage the Secret"),
        }
    }
}
