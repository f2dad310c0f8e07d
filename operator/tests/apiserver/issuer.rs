//! A certificate of an Ingress that is only made when there is an Ingress, as cert-manager does.

use anyhow::Result;
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::json;

use crate::cluster::Cluster;
use crate::operator::{Operator, create, object, reason, registry, rolling_out, secret};

#[tokio::test]
async fn an_ingress_does_not_wait_for_the_certificate_that_is_made_for_it() -> Result<()> {
    let cluster = Cluster::with_namespace("issuer-ingress").await?;
    let _operator = Operator::start(&cluster);
    let ingress = json!({
        "hosts": ["harbour.example"],
        "annotations": { "cert-manager.io/cluster-issuer": "letters" },
        "tls": { "secretName": "harbour-example" },
    });
    create(&cluster, &registry("harbour", json!({ "ingress": ingress }))).await?;
    object(&cluster, "harbour", "names the Secret", |found: &Ingress| {
        let tls = found.spec.as_ref()?.tls.as_ref()?.first()?;
        let named = tls.secret_name.as_deref() == Some("harbour-example");
        let annotations = found.metadata.annotations.as_ref()?;
        (named && annotations.contains_key("cert-manager.io/cluster-issuer")).then_some(())
    })
    .await?;
    let [ready, reconciling, _] = reason(&cluster, "harbour", "SecretNotFound").await?;
    let told = format!("{} {}", ready.message, reconciling.message);
    assert!(
        told.contains("Secret `harbour-example` of `spec.ingress.tls.secretName` does not exist"),
        "{told}"
    );
    let pair = rcgen::generate_simple_self_signed(vec!["harbour.example".to_owned()])?;
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let made = [("tls.crt", certificate.as_str()), ("tls.key", key.as_str())];
    create(&cluster, &secret("harbour-example", &made)).await?;
    rolling_out(&cluster, "harbour").await?;
    Ok(())
}
