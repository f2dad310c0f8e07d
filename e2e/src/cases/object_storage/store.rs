//! versitygw as a Pod: an S3 server over a folder of the Pod, with TLS by a CA of its own, checking signatures. Start
//! at [`Store::start`].

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::{Value, json};

use crate::cache::Cache;
use crate::cases::lifecycle::is_ready;
use crate::cases::ready_registry::{POD_LIMIT, image_with, restricted, same};
use crate::exec::Exec;
use crate::pki::Ca;
use crate::runner::Context;
use crate::tools::Tool;
use crate::wait::{Seen, wait_for};

/// The only bucket.
pub(in crate::cases) const BUCKET: &str = "cargo";
const NAME: &str = "hold";
const PORT: u16 = 7070;
const USER: &str = "fleet";
const REGION: &str = "north-1";
/// The folder of the buckets in its Pod.
const FOLDER: &str = "/data";

/// A running store with an empty bucket.
pub(in crate::cases) struct Store<'a> {
    context: &'a Context<'a>,
    namespace: String,
    /// The secret key of [`USER`].
    secret: String,
}

impl<'a> Store<'a> {
    /// Starts a store in the namespace and waits until it answers.
    pub(in crate::cases) async fn start(context: &'a Context<'a>, namespace: &str) -> Result<Self> {
        let secret: [u8; 16] = rand::random();
        let store = Self {
            context,
            namespace: namespace.to_owned(),
            secret: secret.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        let program = Tool::VersityGw
            .path(&Cache::open()?, |said| context.note(said))
            .await?;
        let image = image_with(context, &program, "versitygw").await?;
        let ca = Ca::new("the store's CA")?;
        let leaf = ca.issue(NAME, "berth", &[&store.name()])?;
        let script = format!(
            "mkdir {FOLDER}/{BUCKET} && exec versitygw --port :{PORT} --region {REGION} --cert /tls/tls.crt --key /tls/tls.key \
             --keep-alive --health /health --quiet posix {FOLDER}"
        );
        let key = |name: &str, key: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "bucket", "key": key}}});
        let spec = restricted(json!({
            "containers": [{"name": "versitygw", "image": image, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", script],
                "env": [key("ROOT_ACCESS_KEY", "id"), key("ROOT_SECRET_KEY", "key")],
                "readinessProbe": {"httpGet": {"path": "/health", "port": PORT, "scheme": "HTTPS"}, "periodSeconds": 1},
                "volumeMounts": [{"name": "data", "mountPath": FOLDER}, {"name": "tls", "mountPath": "/tls"}]}],
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tls", "secret": {"secretName": "store-tls"}}]
        }))?;
        let labels = json!({"app": NAME});
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bucket"}, "stringData": {"id": USER, "key": store.secret}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store-tls"}, "type": "kubernetes.io/tls",
                "stringData": {"tls.crt": leaf.certificate, "tls.key": leaf.key}},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "seals"}, "data": {"ca.pem": ca.certificate()}},
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME},
                "spec": {"selector": labels, "ports": [{"port": PORT}]}},
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME, "labels": labels}, "spec": spec},
        ]});
        store
            .kubectl()
            .args(["create", "-f", "-"])
            .stdin(objects.to_string())
            .success()
            .await?;
        store.ready(POD_LIMIT).await?;
        Ok(store)
    }

    /// Its name and port inside the cluster.
    pub(in crate::cases) fn host(&self) -> String {
        format!("{}:{PORT}", self.name())
    }

    /// `spec.storage` of a Registry in a folder of the bucket.
    pub(in crate::cases) fn storage(&self, prefix: &str) -> Value {
        json!({"s3": {
            "bucket": BUCKET,
            "region": REGION,
            "endpoint": format!("https://{}", self.host()),
            "prefix": prefix,
            "credentials": {"secret": {"name": "bucket", "accessKeyIDKey": "id", "secretAccessKeyKey": "key"}},
            "caBundle": {"configMapKeyRef": {"name": "seals", "key": "ca.pem"}},
        }})
    }

    /// Creates or replaces a Secret with keys.
    pub(in crate::cases) async fn keys(&self, secret: &str, id: &str, key: &str) -> Result<()> {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret},
            "stringData": {"id": id, "key": key}});
        self.kubectl()
            .args(["apply", "-f", "-"])
            .stdin(secret.to_string())
            .success()
            .await
            .map(drop)
    }

    /// Writes the keys that the store accepts into a Secret of [`Self::keys`].
    pub(in crate::cases) async fn same_keys_as_its_own(&self, secret: &str) -> Result<()> {
        self.keys(secret, USER, &self.secret).await
    }

    /// Checks that everything in the bucket is below that folder.
    pub(in crate::cases) async fn holds_nothing_but(&self, prefix: &str) -> Result<()> {
        // The store's own files begin with a dot.
        let mut above = format!("{FOLDER}/{BUCKET}");
        for name in prefix.split('/') {
            let found = self
                .kubectl()
                .args(["exec", NAME, "--", "ls", &above])
                .success()
                .await?;
            same(&format!("what lies in `{above}`"), &name, &found.trim())?;
            above = format!("{above}/{name}");
        }
        Ok(())
    }

    fn name(&self) -> String {
        format!("{NAME}.{}.svc", self.namespace)
    }

    fn kubectl(&self) -> Exec {
        self.context
            .cluster
            .kubectl()
            .arg(format!("--namespace={}", self.namespace))
    }

    async fn ready(&self, limit: Duration) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.context.cluster.client().await?, &self.namespace);
        wait_for("the store to answer", limit, async || {
            let pod = pods.get(NAME).await.context("cannot read the store's Pod")?;
            Ok(if is_ready(&pod) {
                Seen::Done(())
            } else {
                Seen::NotYet(serde_json::to_string(&pod.status)?)
            })
        })
        .await
    }
}
