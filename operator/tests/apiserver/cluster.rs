//! One API server for all tests that run at the same time, and a namespace for each.

use std::sync::{Arc, Weak};

use anyhow::{Context as _, Result};
use e2e::apiserver::ApiServer;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use kube::{Api, Client, Config};
use tokio::sync::Mutex;

/// Weak, because nothing drops a static: the server must end with the last test that uses it.
static SHARED: Mutex<Weak<ApiServer>> = Mutex::const_new(Weak::new());

/// A namespace on the shared API server.
pub(crate) struct Cluster {
    pub(crate) server: Arc<ApiServer>,
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Cluster {
    /// Starts the server if no test has, installs the definition, and makes a namespace named after the test.
    pub(crate) async fn with_namespace(name: &str) -> Result<Self> {
        let mut shared = SHARED.lock().await;
        let (server, fresh) = match shared.upgrade() {
            Some(server) => (server, false),
            None => (Arc::new(ApiServer::start().await?), true),
        };
        *shared = Arc::downgrade(&server);
        // A client of this test's runtime: one made on another test's runtime ends with it.
        let client = client(&server).await?;
        if fresh {
            install(&client, &operator_api::crd()).await?;
        }
        drop(shared);
        make_namespace(&client, name).await?;
        Ok(Self {
            server,
            client,
            namespace: name.to_owned(),
        })
    }

    /// A namespace on a server of this test's own with some controllers, for a test that would disturb others.
    pub(crate) async fn of_its_own(name: &str, controllers: &[&str]) -> Result<Self> {
        let mut server = ApiServer::start().await?;
        server.start_controllers(controllers).await?;
        let client = client(&server).await?;
        install(&client, &operator_api::crd()).await?;
        make_namespace(&client, name).await?;
        Ok(Self {
            server: Arc::new(server),
            client,
            namespace: name.to_owned(),
        })
    }

    /// Starts a server of this test's own, with another definition than today's.
    pub(crate) async fn with_definition(name: &str, definition: &CustomResourceDefinition) -> Result<Self> {
        let server = Arc::new(ApiServer::start().await?);
        let client = client(&server).await?;
        install(&client, definition).await?;
        make_namespace(&client, name).await?;
        Ok(Self {
            server,
            client,
            namespace: name.to_owned(),
        })
    }

    /// Objects of this test's namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

impl Cluster {
    /// The administrator's configuration, for a client of a test's own.
    pub(crate) async fn config(&self) -> Result<Config> {
        config(&self.server).await
    }

    /// A client that acts as another user.
    pub(crate) async fn impersonating(&self, user: &str) -> Result<Client> {
        let mut config = config(&self.server).await?;
        config.auth_info.impersonate = Some(user.to_owned());
        Ok(Client::try_from(config)?)
    }
}

async fn client(server: &ApiServer) -> Result<Client> {
    Ok(Client::try_from(config(server).await?)?)
}

async fn config(server: &ApiServer) -> Result<Config> {
    let kubeconfig =
        Kubeconfig::read_from(server.kubeconfig()).context("cannot read the server's kubeconfig")?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

async fn make_namespace(client: &Client, name: &str) -> Result<()> {
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..Default::default()
        },
        ..Default::default()
    };
    Api::<Namespace>::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await
        .with_context(|| format!("cannot make namespace `{name}`"))?;
    Ok(())
}

/// Installs the definition and waits until it can be used.
pub(crate) async fn install(client: &Client, definition: &CustomResourceDefinition) -> Result<()> {
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    definitions
        .create(&PostParams::default(), definition)
        .await
        .context("cannot install the definition")?;
    let established = await_condition(definitions, "registries.berth.dev", is_crd_established());
    tokio::time::timeout(std::time::Duration::from_secs(60), established)
        .await
        .context("the definition was not established within 60 s")??;
    Ok(())
}
