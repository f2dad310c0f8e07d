//! A registry inside another program, on a port that the system chooses:
//! `cargo run -p registry-server --example embed -- FOLDER`.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use registry_server::auth::Authenticator;
use registry_server::http::server::{ConnectionInfo, Limits, Listener, Protocols, Server, Stop};
use registry_server::http::{App, Options, Secrets};
use registry_server::registry::{Heartbeat, LiveServer, Registry, Settings};
use registry_server::storage::{Filesystem, FilesystemOptions};
use tokio::task::JoinHandle;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args()
        .nth(1)
        .ok_or("the folder of the registry is missing")?;
    let stop = Stop::default();
    let (address, running) = serve(folder.as_ref(), stop.clone()).await?;
    println!("{folder} is served on {address} until ctrl-c");
    tokio::signal::ctrl_c().await?;
    stop.stop();
    Ok(running.await?)
}

/// Serves the registry in `folder` until `stop`. Gives the address, and the task that serves.
pub(crate) async fn serve(folder: &Path, stop: Stop) -> Result<(String, JoinHandle<()>), Box<dyn Error>> {
    let store = Filesystem::new(folder, &FilesystemOptions::default())?;
    let registry = Registry::new(Arc::new(store), Settings::default());
    // While this process writes to the store, a garbage collection is refused.
    let heartbeat = Heartbeat::begin(&registry, LiveServer::this_process());
    // The secret signs the URLs of uploads. Servers of the same store need the same secret.
    let secrets = Secrets::new(b"a secret of your own", []);
    let app = App::new(registry, Authenticator::open(), Options::new(secrets));
    let listener = Listener::bind(Default::default(), "127.0.0.1:0").await?;
    let address = listener.address();
    let answer = move |request, connection: ConnectionInfo| {
        let app = app.clone();
        async move { app.respond(request, connection.peer).await }
    };
    let server = Server::new(listener, Protocols::default(), Limits::default(), answer);
    let running = tokio::spawn(async move {
        server.run(stop, Duration::from_secs(10)).await;
        heartbeat.end().await;
    });
    Ok((address, running))
}
