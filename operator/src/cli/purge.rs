//! `operator purge`: removes what outlives a Registry, after it has been listed.
//!
//! Guarantees: nothing is removed while a Registry exists that would use it, without `--yes`, or when it changed after it
//! was listed; the content only with `--content`. Must not: remove an object that the operator has not made.
//! Start at [`purge`].

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::api::{DeleteParams, ListParams, ObjectMeta, Preconditions};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Config, Resource};
use operator_api::Registry;
use serde::de::DeserializeOwned;

use super::output::print;
use super::values::{namespace_name, object_name};
use crate::names::Names;
use crate::ownership::{Lifetime, is_ours};
use crate::subject::Subject;

/// The exit code when the caller has to do something else first.
const CALLER: u8 = 2;

/// Arguments of `operator purge`.
#[derive(Debug, Args)]
pub(super) struct Purge {
    /// Name of the Registry that was deleted.
    #[arg(value_parser = object_name)]
    name: String,
    /// Its namespace.
    #[arg(long, short = 'n', value_parser = namespace_name)]
    namespace: String,
    /// Remove the claim too, with all images.
    #[arg(long)]
    content: bool,
    /// Remove what is listed. Without it nothing is removed.
    #[arg(long)]
    yes: bool,
    /// A kubeconfig; KUBECONFIG, `~/.kube/config` or the Pod's service account when absent.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
}

/// An object that outlives its Registry.
struct Remains {
    kind: String,
    name: String,
    purpose: &'static str,
    /// As it was listed.
    version: Preconditions,
    /// Whether it holds the images.
    is_content: bool,
}

/// Lists what is left of a Registry, and removes it when that is asked for.
pub(super) async fn purge(arguments: Purge) -> anyhow::Result<ExitCode> {
    let Purge {
        name,
        namespace,
        content,
        yes,
        kubeconfig,
    } = arguments;
    let client =
        Client::try_from(config(kubeconfig).await?).context("cannot make a client for the API server")?;
    let names = Names::of(&name);
    let subject = Subject {
        namespace: namespace.clone(),
        name: name.clone(),
        ..Default::default()
    };
    let remains = remains(&client, &subject, &names).await?;
    // Looked at last: a Registry that is created from now on takes back what is still there.
    if let Some(user) = user(&client, &namespace, &names).await? {
        eprintln!(
            "error: Registry `{user}` in namespace `{namespace}` uses these objects\n\nhint: delete it first: kubectl -n \
             {namespace} delete registry {user}"
        );
        return Ok(ExitCode::from(CALLER));
    }
    if remains.is_empty() {
        print(&format!(
            "Nothing is left of Registry `{name}` in namespace `{namespace}`.\n"
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    for object in &remains {
        let kept = object.is_content && !content;
        let done = match (kept, yes) {
            (true, _) => "kept",
            (false, false) => "to be removed",
            (false, true) => {
                remove(&client, &namespace, object).await?;
                "removed"
            }
        };
        let Remains {
            kind, name, purpose, ..
        } = object;
        print(&format!("{done:13}  {kind} {name}  ({purpose})\n"))?;
    }
    if !content && remains.iter().any(|object| object.is_content) {
        eprintln!("\nhint: `--content` removes the claim too; nothing brings the images back");
    }
    if !yes {
        eprintln!("\nhint: nothing was removed; `--yes` does it");
    }
    Ok(ExitCode::SUCCESS)
}

async fn config(kubeconfig: Option<PathBuf>) -> anyhow::Result<Config> {
    let Some(path) = kubeconfig else {
        return Config::infer()
            .await
            .context("no cluster is configured; name a kubeconfig with --kubeconfig");
    };
    let kubeconfig = Kubeconfig::read_from(&path)
        .with_context(|| format!("cannot read the kubeconfig `{}`", path.display()))?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

/// A Registry that has these names for its objects. A long name may share them with another one.
async fn user(client: &Client, namespace: &str, names: &Names) -> anyhow::Result<Option<String>> {
    let registries = Api::<Registry>::namespaced(client.clone(), namespace);
    let all = match registries.list_metadata(&ListParams::default()).await {
        Ok(all) => all.items,
        // The definition is not installed, so there is no Registry.
        Err(kube::Error::Api(answer)) if answer.is_not_found() => Vec::new(),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot list Registries of namespace `{namespace}`"));
        }
    };
    let mut found = all.into_iter().filter_map(|registry| registry.metadata.name);
    Ok(found.find(|name| Names::of(name) == *names))
}

/// The objects that are there, and that the operator has made.
async fn remains(client: &Client, subject: &Subject, names: &Names) -> anyhow::Result<Vec<Remains>> {
    let found = [
        look::<Secret>(client, subject, names.http_secret(), "signs uploads").await?,
        look::<Secret>(client, subject, names.ca_key(), "the CA and its key").await?,
        look::<PersistentVolumeClaim>(client, subject, names.claim(), "all images").await?,
    ];
    Ok(found.into_iter().flatten().collect())
}

async fn look<K>(
    client: &Client,
    subject: &Subject,
    name: String,
    purpose: &'static str,
) -> anyhow::Result<Option<Remains>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let kind = K::kind(&()).into_owned();
    let api = Api::<K>::namespaced(client.clone(), &subject.namespace);
    let found = api
        .get_metadata_opt(&name)
        .await
        .with_context(|| format!("cannot get {kind} `{name}`"))?;
    Ok(found
        .filter(|found| is_left(&found.metadata, subject))
        .map(|found| Remains {
            is_content: kind == "PersistentVolumeClaim",
            kind,
            name,
            purpose,
            version: Preconditions {
                uid: found.metadata.uid,
                resource_version: found.metadata.resource_version,
            },
        }))
}

/// Whether an object was made for this Registry, belongs to nobody now, and is not being deleted already.
fn is_left(metadata: &ObjectMeta, subject: &Subject) -> bool {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    is_ours(metadata, Lifetime::Lasting, subject)
        && owners.is_empty()
        && metadata.deletion_timestamp.is_none()
}

async fn remove(client: &Client, namespace: &str, object: &Remains) -> anyhow::Result<()> {
    let params = DeleteParams {
        preconditions: Some(object.version.clone()),
        ..DeleteParams::default()
    };
    let Remains { kind, name, .. } = object;
    let deleted = match object.is_content {
        true => {
            let api = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace);
            api.delete(name, &params).await.map(drop)
        }
        false => {
            let api = Api::<Secret>::namespaced(client.clone(), namespace);
            api.delete(name, &params).await.map(drop)
        }
    };
    match deleted {
        Err(kube::Error::Api(answer)) if answer.is_not_found() => Ok(()),
        Err(kube::Error::Api(answer)) if answer.is_forbidden() && object.is_content => {
            anyhow::bail!(
                "cannot delete {kind} `{name}`: {}; the operator itself may not delete claims: use a kubeconfig of your own",
                answer.message
            )
        }
        other => other.with_context(|| format!("cannot delete {kind} `{name}`")),
    }
}
