//! Registries that the API server refuses, each with its sentence.

use anyhow::Result;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Error};
use operator_api::Registry;
use serde_json::{Value, json};

use crate::cluster::Cluster;

fn valid() -> Value {
    json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "Registry",
        "metadata": { "name": "subject" },
        "spec": {
            "storage": { "persistentVolumeClaim": { "template": { "size": "5Gi" } } },
            "auth": { "anonymous": { "access": "PullPush" } },
        },
    })
}

/// The valid object with some members of its spec replaced; `null` is sent as null.
fn with(changes: Value) -> Value {
    let mut object = valid();
    for (member, value) in changes.as_object().expect("changes are an object") {
        object["spec"][member] = value.clone();
    }
    object
}

/// Untyped on purpose: the typed client would never send a null or a field it does not know.
fn objects(cluster: &Cluster) -> Api<DynamicObject> {
    Api::namespaced_with(
        cluster.client.clone(),
        &cluster.namespace,
        &ApiResource::erase::<Registry>(&()),
    )
}

async fn create(api: &Api<DynamicObject>, object: Value) -> Result<DynamicObject, String> {
    let object: DynamicObject = serde_json::from_value(object).map_err(|error| error.to_string())?;
    let dry_run = PostParams {
        dry_run: true,
        ..Default::default()
    };
    api.create(&dry_run, &object).await.map_err(sentence)
}

fn sentence(error: Error) -> String {
    match error {
        Error::Api(status) => status.message,
        other => other.to_string(),
    }
}

/// Every row is tried, so that one failure does not hide the others.
fn report(failures: Vec<String>) {
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[tokio::test]
async fn specs_that_cannot_work_are_refused_with_a_sentence_naming_the_field() -> Result<()> {
    let cluster = Cluster::with_namespace("rules-create").await?;
    let claim = json!({ "template": { "size": "5Gi" } });
    let template = |more: Value| {
        let mut template = json!({ "size": "5Gi" });
        for (key, value) in more.as_object().expect("an object") {
            template[key] = value.clone();
        }
        json!({ "storage": { "persistentVolumeClaim": { "template": template } } })
    };
    let ingress = |ingress: Value| json!({ "ingress": ingress });
    let one_backend =
        "spec.storage must name exactly one backend: persistentVolumeClaim, s3, azure, gcs or emptyDir";
    let one_claim = "spec.storage.persistentVolumeClaim must have exactly one of claimName and template";
    let one_auth = "spec.auth must name exactly one kind: htpasswd or anonymous";
    let one_tls = "spec.tls must name exactly one mode: secret, selfSigned or disabled";
    let rows: Vec<(&str, Value, &str)> = vec![
        (
            "two storages",
            json!({"storage": {"persistentVolumeClaim": claim, "emptyDir": {}}}),
            one_backend,
        ),
        ("no storage", json!({"storage": {}}), one_backend),
        (
            "null storages",
            json!({"storage": {"persistentVolumeClaim": null, "s3": null, "azure": null, "gcs": null, "emptyDir": null}}),
            one_backend,
        ),
        (
            "storage left out",
            json!({"storage": null}),
            "spec.storage: Required value",
        ),
        (
            "claim of neither kind",
            json!({"storage": {"persistentVolumeClaim": {}}}),
            one_claim,
        ),
        (
            "claim of both kinds",
            json!({"storage": {"persistentVolumeClaim": {"claimName": "a", "template": {"size": "1Gi"}}}}),
            one_claim,
        ),
        (
            "claim of null kinds",
            json!({"storage": {"persistentVolumeClaim": {"claimName": null, "template": null}}}),
            one_claim,
        ),
        (
            "size that is no size",
            template(json!({"size": "big"})),
            "template.size must be a size above zero such as 50Gi",
        ),
        (
            "size of zero",
            template(json!({"size": "0"})),
            "template.size must be a size above zero such as 50Gi",
        ),
        (
            "no access mode",
            template(json!({"accessModes": []})),
            "template.accessModes must not be empty",
        ),
        (
            "emptyDir without room",
            json!({"storage": {"emptyDir": {"sizeLimit": "-1Gi"}}}),
            "spec.storage.emptyDir.sizeLimit must be a size above zero",
        ),
        (
            "auth left out",
            json!({"auth": null}),
            "spec.auth: Required value",
        ),
        ("no auth", json!({"auth": {}}), one_auth),
        (
            "null auths",
            json!({"auth": {"htpasswd": null, "anonymous": null}}),
            one_auth,
        ),
        (
            "two auths",
            json!({"auth": {"htpasswd": {"secretKeyRef": {"name": "a"}}, "anonymous": {"access": "Pull"}}}),
            one_auth,
        ),
        (
            "realm with a quote",
            json!({"auth": {"htpasswd": {"secretKeyRef": {"name": "a"}, "realm": "a\"b"}}}),
            "spec.auth.htpasswd.realm must be printable ASCII",
        ),
        ("no TLS mode", json!({"tls": {}}), one_tls),
        (
            "null TLS modes",
            json!({"tls": {"secret": null, "selfSigned": null, "disabled": null}}),
            one_tls,
        ),
        (
            "two TLS modes",
            json!({"tls": {"selfSigned": {}, "disabled": {}}}),
            one_tls,
        ),
        (
            "DNS name that is none",
            json!({"tls": {"selfSigned": {"dnsNames": ["Upper"]}}}),
            "spec.tls.selfSigned.dnsNames must hold lower-case DNS names",
        ),
        (
            "address that is none",
            json!({"tls": {"selfSigned": {"ipAddresses": ["1.2.3"]}}}),
            "spec.tls.selfSigned.ipAddresses must hold IP addresses",
        ),
        (
            "certificate for a minute",
            json!({"tls": {"selfSigned": {"duration": "1m"}}}),
            "spec.tls.selfSigned.duration must lie between 1h and 43800h",
        ),
        (
            "certificate for a century",
            json!({"tls": {"selfSigned": {"duration": "876000h"}}}),
            "spec.tls.selfSigned.duration must lie between 1h and 43800h",
        ),
        (
            "renewal before the start",
            json!({"tls": {"selfSigned": {"duration": "2h", "renewBefore": "3h"}}}),
            "spec.tls.selfSigned.renewBefore must be at least 30m shorter than spec.tls.selfSigned.duration",
        ),
        (
            "renewal before the default start",
            json!({"tls": {"selfSigned": {"renewBefore": "9000h"}}}),
            "spec.tls.selfSigned.renewBefore must be at least 30m shorter than spec.tls.selfSigned.duration",
        ),
        (
            "renewal right after the start",
            json!({"tls": {"selfSigned": {"duration": "1h", "renewBefore": "59m"}}}),
            "spec.tls.selfSigned.renewBefore must be at least 30m shorter than spec.tls.selfSigned.duration",
        ),
        (
            "renewal at once",
            json!({"tls": {"selfSigned": {"renewBefore": "1s"}}}),
            "spec.tls.selfSigned.renewBefore must be at least 5m",
        ),
        (
            "drain for a week",
            json!({"http": {"drainTimeout": "168h"}}),
            "spec.http.drainTimeout must be at most 24h",
        ),
        (
            "certificate for ever",
            json!({"tls": {"selfSigned": {"duration": "99999999999999999999h"}}}),
            "spec.tls.selfSigned",
        ),
        (
            "proxy that is no network",
            json!({"http": {"trustedProxies": ["10.0.0.1"]}}),
            "spec.http.trustedProxies must hold networks",
        ),
        (
            "node port inside the cluster",
            json!({"service": {"nodePort": 30000}}),
            "spec.service.nodePort needs spec.service.type NodePort or LoadBalancer",
        ),
        (
            "class without a load balancer",
            json!({"service": {"type": "NodePort", "loadBalancerClass": "a/b"}}),
            "spec.service.loadBalancerClass needs spec.service.type LoadBalancer",
        ),
        (
            "ingress without hosts",
            ingress(json!({"hosts": []})),
            "spec.ingress.hosts must name at least one host",
        ),
        (
            "ingress with hosts left out",
            ingress(json!({"hosts": null})),
            "spec.ingress.hosts: Required value",
        ),
        (
            "empty host",
            ingress(json!({"hosts": [""]})),
            "spec.ingress.hosts must not contain an empty host",
        ),
        (
            "host with a port",
            ingress(json!({"hosts": ["a.example:443"]})),
            "spec.ingress.hosts must hold lower-case host names without a port",
        ),
        (
            "snippet",
            ingress(
                json!({"hosts": ["a.example"], "annotations": {"nginx.ingress.kubernetes.io/server-snippet": "x"}}),
            ),
            "spec.ingress.annotations must not put text into the configuration of a proxy",
        ),
        (
            "haproxy's snippet by another name",
            ingress(
                json!({"hosts": ["a.example"], "annotations": {"haproxy-ingress.github.io/config-backend": "x"}}),
            ),
            "spec.ingress.annotations must not put text into the configuration of a proxy",
        ),
        (
            "F5's snippets",
            ingress(json!({"hosts": ["a.example"], "annotations": {"nginx.org/location-snippets": "x"}})),
            "spec.ingress.annotations must not put text into the configuration of a proxy",
        ),
        (
            "skipper's filters",
            ingress(json!({"hosts": ["a.example"], "annotations": {"zalando.org/skipper-filter": "x"}})),
            "spec.ingress.annotations must not put text into the configuration of a proxy",
        ),
        (
            "a snippet on the Service",
            json!({"service": {"annotations": {"haproxy-ingress.github.io/config-backend": "x"}}}),
            "spec.service.annotations must not put text into the configuration of a proxy",
        ),
        (
            "TLS by annotation",
            ingress(
                json!({"hosts": ["a.example"], "annotations": {"nginx.ingress.kubernetes.io/backend-protocol": "HTTP"}}),
            ),
            "spec.ingress.annotations must not say where TLS ends",
        ),
        (
            "passthrough with a certificate",
            ingress(json!({"hosts": ["a.example"], "tls": {"mode": "Passthrough", "secretName": "a"}})),
            "spec.ingress.tls.secretName has no use with mode Passthrough",
        ),
        (
            "passthrough to plain HTTP",
            json!({"tls": {"disabled": {}}, "ingress": {"hosts": ["a.example"], "tls": {"mode": "Passthrough"}}}),
            "spec.ingress.tls.mode Reencrypt and Passthrough need a server with TLS",
        ),
        (
            "reencryption to plain HTTP",
            json!({"tls": {"disabled": {}}, "ingress": {"hosts": ["a.example"], "tls": {"mode": "Reencrypt"}}}),
            "spec.ingress.tls.mode Reencrypt and Passthrough need a server with TLS",
        ),
        (
            "edge to a server with TLS",
            json!({"tls": {"selfSigned": {}}, "ingress": {"hosts": ["a.example"], "tls": {"mode": "Edge"}}}),
            "spec.ingress.tls.mode Edge ends TLS at the Ingress and needs spec.tls.disabled",
        ),
        (
            "edge to a server with TLS by default",
            ingress(json!({"hosts": ["a.example"], "tls": {"mode": "Edge"}})),
            "spec.ingress.tls.mode Edge ends TLS at the Ingress and needs spec.tls.disabled",
        ),
        (
            "URL without a scheme",
            json!({"publicURL": "registry.example.com"}),
            "spec.publicURL must be http:// or https:// and a host",
        ),
        (
            "URL with a path",
            json!({"publicURL": "https://registry.example.com/path"}),
            "spec.publicURL must be http:// or https:// and a host",
        ),
        (
            "repository for a verification that is none",
            json!({"verify": {"repository": "Ops/verify"}}),
            "spec.verify.repository must be the name of a repository",
        ),
        (
            "digest that is none",
            json!({"image": {"digest": "sha256:abc"}}),
            "spec.image.digest must be sha256: or sha512:",
        ),
        (
            "two replicas on emptyDir",
            json!({"replicas": 2, "storage": {"emptyDir": {}}}),
            "spec.replicas must be at most 1 with spec.storage.emptyDir",
        ),
        (
            "two replicas on ReadWriteOnce",
            json!({"replicas": 2}),
            "spec.replicas must be at most 1 unless spec.storage.persistentVolumeClaim.template.accessModes contains ReadWriteMany",
        ),
        (
            "two replicas on ReadWriteOncePod",
            json!({"replicas": 2, "storage": {"persistentVolumeClaim": {"template": {"size": "1Gi", "accessModes": ["ReadWriteOncePod"]}}}}),
            "spec.replicas must be at most 1 unless",
        ),
        (
            "server variable",
            json!({"pod": {"env": [{"name": "REGISTRY_AUTH", "value": "none"}]}}),
            "spec.pod.env must not contain REGISTRY_ variables",
        ),
        (
            "variable without a value",
            json!({"pod": {"env": [{"name": "A"}]}}),
            "spec.pod.env must give each variable exactly one of value and valueFrom",
        ),
        (
            "variable from null",
            json!({"pod": {"env": [{"name": "A", "value": null, "valueFrom": null}]}}),
            "spec.pod.env must give each variable exactly one of value and valueFrom",
        ),
        (
            "variable from nowhere",
            json!({"pod": {"env": [{"name": "A", "valueFrom": {}}]}}),
            "spec.pod.env.valueFrom must have exactly one of secretKeyRef and configMapKeyRef",
        ),
        (
            "volume of nothing",
            json!({"pod": {"volumes": [{"name": "a", "mountPath": "/a"}]}}),
            "spec.pod.volumes must give each volume exactly one of secret and configMap",
        ),
        (
            "volume of nulls",
            json!({"pod": {"volumes": [{"name": "a", "mountPath": "/a", "secret": null, "configMap": null}]}}),
            "spec.pod.volumes must give each volume exactly one of secret and configMap",
        ),
        (
            "address as host",
            ingress(json!({"hosts": ["192.0.2.7"]})),
            "spec.ingress.hosts must hold host names, not IP addresses",
        ),
        (
            "volume over the data",
            json!({"pod": {"volumes": [{"name": "a", "mountPath": "/var/lib/registry/docker", "secret": {"name": "s"}}]}}),
            "spec.pod.volumes.mountPath must be an absolute path that is not in, and does not hold,",
        ),
        (
            "volume over what holds ours",
            json!({"pod": {"volumes": [{"name": "a", "mountPath": "/etc", "secret": {"name": "s"}}]}}),
            "spec.pod.volumes.mountPath must be an absolute path",
        ),
        (
            "volume over the root",
            json!({"pod": {"volumes": [{"name": "a", "mountPath": "//", "secret": {"name": "s"}}]}}),
            "spec.pod.volumes.mountPath must be an absolute path",
        ),
        (
            "volume over a folder of ours by another spelling",
            json!({"pod": {"volumes": [{"name": "a", "mountPath": "/./bin", "secret": {"name": "s"}}]}}),
            "spec.pod.volumes.mountPath must be an absolute path",
        ),
        (
            "volume with our name",
            json!({"pod": {"volumes": [{"name": "data", "mountPath": "/a", "secret": {"name": "s"}}]}}),
            "spec.pod.volumes must not be named",
        ),
        (
            "Secret's name with a query",
            json!({"auth": {"htpasswd": {"secretKeyRef": {"name": "users?x=1#a"}}}}),
            "spec.auth.htpasswd.secretKeyRef.name: Invalid value: …: must be the name of an object",
        ),
        (
            "Secret's name with a path",
            json!({"tls": {"secret": {"name": "users/../users"}}}),
            "spec.tls.secret.name: Invalid value: …: must be the name of an object",
        ),
        (
            "Secret's name with a space",
            ingress(json!({"hosts": ["a.example"], "tls": {"secretName": "my users"}})),
            "spec.ingress.tls.secretName: Invalid value: …: must be the name of an object",
        ),
        (
            "claim's name with a path",
            json!({"storage": {"persistentVolumeClaim": {"claimName": "../secrets/a"}}}),
            "spec.storage.persistentVolumeClaim.claimName: Invalid value: …: must be the name of an object",
        ),
        (
            "key with a slash",
            json!({"auth": {"htpasswd": {"secretKeyRef": {"name": "a", "key": "a/b"}}}}),
            "spec.auth.htpasswd.secretKeyRef.key: Invalid value: …: must be a key of a Secret or ConfigMap",
        ),
        (
            "pull secret in upper case",
            json!({"image": {"pullSecrets": [{"name": "A"}]}}),
            "spec.image.pullSecrets[0].name: Invalid value: …: must be the name of an object",
        ),
        (
            "image with a tag in its name",
            json!({"image": {"repository": "example.com/registry:1"}}),
            "spec.image.repository must be an image's name without tag and digest",
        ),
        (
            "tag that is none",
            json!({"image": {"tag": "a/b"}}),
            "spec.image.tag must be a tag",
        ),
        (
            "quantity that is none",
            json!({"pod": {"resources": {"limits": {"cpu": "lots"}}}}),
            "spec.pod.resources.limits.cpu: Invalid value: \"lots\": spec.pod.resources.limits.cpu in body should match",
        ),
        (
            "negative quantity",
            json!({"pod": {"resources": {"requests": {"cpu": "-1"}}}}),
            "spec.pod.resources.requests.cpu in body should match",
        ),
        (
            "request above the limit",
            json!({"pod": {"resources": {"requests": {"cpu": 2}, "limits": {"cpu": "1500m"}}}}),
            "spec.pod.resources.requests must not be above spec.pod.resources.limits",
        ),
        (
            "weight that no scheduler takes",
            json!({"pod": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 3_000_000_000_u64, "preference": {}}]}}}}),
            "weight in body should be less than or equal to 100",
        ),
        (
            "skew that no integer holds",
            json!({"pod": {"topologySpreadConstraints": [{"maxSkew": 3_000_000_000_u64, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]}}),
            "maxSkew in body should be less than or equal to 2147483647",
        ),
        (
            "operator that is none",
            json!({"pod": {"tolerations": [{"key": "a", "operator": "Perhaps"}]}}),
            "spec.pod.tolerations[0].operator: Unsupported value: \"Perhaps\"",
        ),
        (
            "label value with a space",
            json!({"pod": {"nodeSelector": {"disk": "very big"}}}),
            "spec.pod.nodeSelector.disk in body should match",
        ),
        (
            "profile by annotation",
            json!({"pod": {"annotations": {"container.apparmor.security.beta.kubernetes.io/registry": "unconfined"}}}),
            "spec.pod.annotations must not set AppArmor or seccomp profiles",
        ),
        (
            "variable's name with an equals sign",
            json!({"pod": {"env": [{"name": "A=B", "value": "x"}]}}),
            "spec.pod.env.name must be letters, digits, dots, dashes and underscores",
        ),
        (
            "volume's name in upper case",
            json!({"pod": {"volumes": [{"name": "A", "mountPath": "/a", "secret": {"name": "s"}}]}}),
            "spec.pod.volumes.name must be lower-case letters, digits and dashes",
        ),
        (
            "our label on the Service",
            json!({"service": {"labels": {"berth.dev/registry": "x"}}}),
            "spec.service.labels must not contain berth.dev/",
        ),
        (
            "class of a load balancer with a space",
            json!({"service": {"type": "LoadBalancer", "loadBalancerClass": "a b"}}),
            "spec.service.loadBalancerClass must be a name",
        ),
        (
            "source ranges without a load balancer",
            json!({"service": {"loadBalancerSourceRanges": ["192.0.2.0/24"]}}),
            "spec.service.loadBalancerSourceRanges needs spec.service.type LoadBalancer",
        ),
        (
            "source range that is no network",
            json!({"service": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["192.0.2.1"]}}),
            "spec.service.loadBalancerSourceRanges must hold networks",
        ),
        (
            "external policy inside the cluster",
            json!({"service": {"externalTrafficPolicy": "Local"}}),
            "spec.service.externalTrafficPolicy needs spec.service.type NodePort or LoadBalancer",
        ),
        (
            "two families on one stack",
            json!({"service": {"ipFamilies": ["IPv4", "IPv6"]}}),
            "spec.service.ipFamilies with two families needs spec.service.ipFamilyPolicy",
        ),
        (
            "a family twice",
            json!({"service": {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv4"]}}),
            "spec.service.ipFamilies must not name a family twice",
        ),
        (
            "autoscaler on emptyDir",
            json!({"autoscaling": {"maxReplicas": 3}, "storage": {"emptyDir": {}}}),
            "spec.autoscaling needs storage that Pods can share, not spec.storage.emptyDir",
        ),
        (
            "autoscaler on ReadWriteOnce",
            json!({"autoscaling": {"maxReplicas": 3}}),
            "spec.autoscaling needs a volume that Pods can share",
        ),
        (
            "autoscaler upside down",
            json!({"autoscaling": {"minReplicas": 4, "maxReplicas": 3}, "storage": {"persistentVolumeClaim": {"template": {"size": "1Gi", "accessModes": ["ReadWriteMany"]}}}}),
            "spec.autoscaling.minReplicas must not be above spec.autoscaling.maxReplicas",
        ),
        (
            "policy for a network that is none",
            json!({"networkPolicy": {"from": [{"ipBlock": {"cidr": "10.0.0.1"}}]}}),
            "must be a network such as 10.0.0.0/8",
        ),
        (
            "route without a parent",
            json!({"httpRoute": {"parentRefs": []}}),
            "spec.httpRoute.parentRefs must name at least one Gateway",
        ),
        (
            "route for a host with a port",
            json!({"httpRoute": {"parentRefs": [{"name": "gate"}], "hostnames": ["a.example:443"]}}),
            "spec.httpRoute.hostnames must hold lower-case host names without a port",
        ),
        (
            "route for TLS without TLS",
            json!({"tls": {"disabled": {}}, "tlsRoute": {"parentRefs": [{"name": "gate"}], "hostnames": ["a.example"]}}),
            "spec.tlsRoute leads TLS through to the server, but spec.tls.disabled is set",
        ),
        (
            "route for TLS without a host",
            json!({"tlsRoute": {"parentRefs": [{"name": "gate"}], "hostnames": []}}),
            "spec.tlsRoute.hostnames must hold lower-case host names without a port",
        ),
        (
            "route for TLS without a parent",
            json!({"tlsRoute": {"parentRefs": [], "hostnames": ["a.example"]}}),
            "spec.tlsRoute.parentRefs must name at least one Gateway",
        ),
        (
            "interval that is none",
            json!({"metrics": {"interval": "often"}}),
            "spec.metrics.interval must be a whole number of seconds, minutes or hours",
        ),
        (
            "our label on the monitor",
            json!({"metrics": {"labels": {"berth.dev/registry": "x"}}}),
            "spec.metrics.labels must not contain berth.dev/",
        ),
        (
            "our label",
            json!({"pod": {"labels": {"berth.dev/registry": "x"}}}),
            "spec.pod.labels must not contain berth.dev/",
        ),
        (
            "our annotation",
            json!({"pod": {"annotations": {"berth.dev/x": "x"}}}),
            "spec.pod.annotations must not contain berth.dev/ keys",
        ),
        (
            "path that is none",
            json!({"configFrom": [{"path": "a..b", "secretKeyRef": {"name": "a", "key": "b"}}]}),
            "spec.configFrom.path must be keys of config.yml joined by dots",
        ),
    ];
    check_refused(&cluster, rows).await;
    Ok(())
}

/// Each row's changes of the valid spec must be refused with its sentence. `…` stands for the value that is refused, which
/// Kubernetes quotes since 1.37 and calls `"string"` before.
pub(crate) async fn check_refused(cluster: &Cluster, rows: Vec<(&str, Value, &str)>) {
    let api = objects(cluster);
    let mut failures = Vec::new();
    for (name, changes, expected) in rows {
        match create(&api, with(changes)).await {
            Ok(_) => failures.push(format!("{name}: expected: {expected}\n    got: accepted")),
            Err(got) if expected.split('…').all(|part| got.contains(part)) => {}
            Err(got) => failures.push(format!("{name}: expected: {expected}\n    got: {got}")),
        }
    }
    report(failures);
}

/// Each row's changes of the valid spec must be accepted, and read back.
pub(crate) async fn check_accepted(cluster: &Cluster, rows: Vec<(&str, Value)>) -> Result<()> {
    let api = objects(cluster);
    let mut failures = Vec::new();
    for (name, changes) in rows {
        match create(&api, with(changes)).await {
            Err(got) => failures.push(format!("{name}: expected: accepted\n    got: {got}")),
            // The operator must be able to parse what the API server accepts.
            Ok(stored) => {
                if let Err(error) = serde_json::from_value::<Registry>(serde_json::to_value(&stored)?) {
                    failures.push(format!("{name}: accepted, but cannot be read: {error}"));
                }
            }
        }
    }
    report(failures);
    Ok(())
}

#[tokio::test]
async fn specs_that_work_are_accepted_and_an_explicit_null_counts_as_absent() -> Result<()> {
    let cluster = Cluster::with_namespace("rules-accept").await?;
    let api = objects(&cluster);
    let rows: Vec<(&str, Value)> = vec![
        ("the least there is", json!({})),
        (
            "null beside a storage",
            json!({"storage": {"persistentVolumeClaim": null, "emptyDir": {}}}),
        ),
        (
            "null beside a claim",
            json!({"storage": {"persistentVolumeClaim": {"claimName": "a", "template": null}}}),
        ),
        (
            "null beside an auth",
            json!({"auth": {"htpasswd": {"secretKeyRef": {"name": "a"}}, "anonymous": null}}),
        ),
        (
            "null beside a TLS mode",
            json!({"tls": {"secret": {"name": "a"}, "selfSigned": null, "disabled": null}}),
        ),
        (
            "null beside a value",
            json!({"pod": {"env": [{"name": "A", "value": "", "valueFrom": null}]}}),
        ),
        (
            "fractions",
            json!({"http": {"drainTimeout": "1.5h0.5m"}, "tls": {"selfSigned": {"renewBefore": "0.5h"}}}),
        ),
        (
            "null for every option",
            json!({"tls": null, "http": null, "ingress": null, "service": null, "pod": null, "log": null, "image": null, "config": null, "configFrom": null, "publicURL": null, "replicas": null, "mode": null}),
        ),
        (
            "many replicas on ReadWriteMany",
            json!({"replicas": 3, "storage": {"persistentVolumeClaim": {"template": {"size": "1Gi", "accessModes": ["ReadWriteMany"]}}}}),
        ),
        (
            "edge to plain HTTP",
            json!({"tls": {"disabled": {}}, "ingress": {"hosts": ["a.example"], "tls": {"mode": "Edge"}}}),
        ),
        (
            "passthrough to TLS by default",
            json!({"ingress": {"hosts": ["a.example"], "tls": {"mode": "Passthrough"}}}),
        ),
        (
            "wildcard and addresses",
            json!({"tls": {"selfSigned": {"dnsNames": ["*.example.com"], "ipAddresses": ["::1", "192.0.2.1"], "duration": "2160h", "renewBefore": "1h30m"}}}),
        ),
        (
            "public address with a port",
            json!({"publicURL": "https://registry.example.com:8443"}),
        ),
        (
            "any configuration key",
            json!({"config": {"catalog": {"maxentries": 10}, "unknown": {"a": [1, null]}}}),
        ),
    ];
    check_accepted(&cluster, rows).await?;
    let stored = create(&api, valid()).await.map_err(anyhow::Error::msg)?;
    assert_eq!(
        stored.data["spec"],
        json!({
            "replicas": 1,
            "paused": false,
            "upgradePolicy": "Automatic",
            "mode": "ReadWrite",
            "probe": "Enabled",
            "http": { "drainTimeout": "60s" },
            "service": { "type": "ClusterIP", "port": 5000 },
            "log": { "level": "Info", "format": "Text", "accessLog": "Enabled" },
            "storage": {
                "persistentVolumeClaim": { "template": {
                    "size": "5Gi", "accessModes": ["ReadWriteOnce"], "retentionPolicy": "Retain",
                } },
                "redirect": "Disabled",
                "deletion": "Disabled",
            },
            "auth": { "anonymous": { "access": "PullPush" } },
        }),
        "what the API server fills in"
    );
    Ok(())
}

#[tokio::test]
async fn a_made_claim_grows_and_changes_in_nothing_else() -> Result<()> {
    let cluster = Cluster::with_namespace("rules-update").await?;
    let api = objects(&cluster);
    let object: DynamicObject = serde_json::from_value(valid())?;
    api.create(&PostParams::default(), &object).await?;
    let update = async |template: Value| {
        let patch = json!({ "spec": { "storage": { "persistentVolumeClaim": { "template": template } } } });
        let params = PatchParams {
            dry_run: true,
            ..Default::default()
        };
        api.patch("subject", &params, &Patch::Merge(patch))
            .await
            .map_err(sentence)
    };
    let rows = [
        ("shrunk", json!({ "size": "4Gi" }), "template.size may only grow"),
        (
            "shrunk in other units",
            json!({ "size": "5G" }),
            "template.size may only grow",
        ),
        (
            "a class where there was none",
            json!({ "storageClassName": "fast" }),
            "template.storageClassName cannot be changed",
        ),
        (
            "another mode",
            json!({ "accessModes": ["ReadWriteMany"] }),
            "template.accessModes cannot be changed",
        ),
        (
            "one mode more",
            json!({ "accessModes": ["ReadWriteOnce", "ReadWriteMany"] }),
            "template.accessModes cannot be changed",
        ),
    ];
    let mut failures = Vec::new();
    for (name, template, expected) in rows {
        match update(template).await {
            Err(got) if got.contains(expected) => {}
            other => failures.push(format!("{name}: expected: {expected}\n    got: {other:?}")),
        }
    }
    report(failures);
    update(json!({ "size": "6Gi" }))
        .await
        .map_err(anyhow::Error::msg)?;
    api.delete("subject", &DeleteParams::default()).await?;
    Ok(())
}
