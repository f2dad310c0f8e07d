//! nginx, HAProxy and Traefik as loopback processes with TLS, in front of one server.
//!
//! Guarantees: the certificate is for `localhost`, signed by the case's own CA. A proxy is killed when it is dropped,
//! with everything it started. Must not: know the answers of the server behind it. Start at [`Edge`].

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::{Certificate, Client, Url};
use tokio::process::{Child, Command};

use crate::cache::Cache;
use crate::pki::{Ca, write_secret};
use crate::ports;
use crate::tools::Tool;
use crate::wait::{Seen, wait_for};

/// Time limit for a proxy's first answer. Generous, because the machine may be busy.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The place where clients connect: two ports that were free a moment ago, and a certificate.
pub(crate) struct Edge {
    folder: PathBuf,
    /// The port with TLS.
    pub(crate) tls: u16,
    /// The port without TLS.
    pub(crate) plain: u16,
    /// The CA that clients have to trust, PEM.
    pub(crate) ca: String,
}

impl Edge {
    /// Makes the certificate in `folder`, where the proxy's other files and its log are written too.
    ///
    /// # Errors
    /// No port is free, or the folder cannot be written.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let ca = Ca::new("a CA of the suite")?;
        let leaf = ca.issue("localhost", "e2e", &["localhost"])?;
        // HAProxy reads certificate and key from one file, in this order.
        write_secret(
            &folder.join("edge.pem"),
            &format!("{}{}", leaf.certificate, leaf.key),
        )?;
        let (tls, plain) = (ports::free()?.port(), ports::free()?.port());
        Ok(Self {
            folder: folder.to_owned(),
            tls,
            plain,
            ca: ca.certificate(),
        })
    }

    /// The registry's host name for clients.
    pub(crate) fn host(&self) -> String {
        format!("localhost:{}", self.tls)
    }

    /// An HTTP client that trusts only this CA.
    ///
    /// # Errors
    /// The CA's certificate cannot be read.
    pub(crate) fn client(&self) -> Result<Client> {
        let ca = Certificate::from_pem(self.ca.as_bytes())?;
        let client = Client::builder()
            .no_proxy()
            .tls_certs_only([ca])
            .redirect(reqwest::redirect::Policy::none());
        Ok(client.build()?)
    }

    /// nginx. `server` is added to the `server` block after the listeners and the certificate, `http` before that
    /// block. It runs as one process, so that a kill ends it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn nginx(&self, http: &str, server: &str) -> Result<ProxyConfig> {
        let Self {
            folder, tls, plain, ..
        } = self;
        let folder = folder.display();
        let text = format!(
            "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nuser root;\nerror_log stderr;\nevents {{}}\nhttp {{\n\
             access_log off;\nclient_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\n\
             fastcgi_temp_path {folder}/f;\nuwsgi_temp_path {folder}/u;\nscgi_temp_path {folder}/s;\n{http}\n\
             server {{\nlisten 127.0.0.1:{tls} ssl http2;\nlisten 127.0.0.1:{plain};\n\
             ssl_certificate {folder}/edge.pem;\nssl_certificate_key {folder}/edge.pem;\n{server}\n}}\n}}\n"
        );
        let file = self.write("nginx.conf", &text)?;
        Ok(self.config("/usr/sbin/nginx", &["-e", "stderr", "-c"], file, "nginx"))
    }

    /// HAProxy. `sections` follows a `defaults` section with generous timeouts. In it `{tls}`, `{plain}` and `{pem}`
    /// stand for the ports and the certificate's file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn haproxy(&self, sections: &str) -> Result<ProxyConfig> {
        let pem = self.folder.join("edge.pem").display().to_string();
        let sections = sections
            .replace("{tls}", &self.tls.to_string())
            .replace("{plain}", &self.plain.to_string())
            .replace("{pem}", &pem);
        let text = format!(
            "global\n    log stderr format raw local0 notice\ndefaults\n    mode http\n    log global\n    timeout connect 5s\n    \
             timeout client 60s\n    timeout server 60s\n{sections}\n"
        );
        let file = self.write("haproxy.cfg", &text)?;
        Ok(self.config("/usr/sbin/haproxy", &["-db", "-f"], file, "haproxy"))
    }

    /// Traefik with its file provider: requests that match `rule` go to the URL `upstream`. The port without TLS
    /// redirects.
    ///
    /// # Errors
    /// It cannot be built, or a file cannot be written.
    pub(crate) async fn traefik(&self, rule: &str, upstream: &str) -> Result<ProxyConfig> {
        let program = Tool::Traefik.path(&Cache::open()?, |_| ()).await?;
        let pem = self.folder.join("edge.pem").display().to_string();
        let dynamic = serde_json::json!({
            "http": {
                "routers": {"registry": {"rule": rule, "service": "registry", "entryPoints": ["secure"], "tls": {}}},
                "services": {"registry": {"loadBalancer": {"servers": [{"url": upstream}]}}},
            },
            "tls": {"certificates": [{"certFile": pem, "keyFile": pem}]},
        });
        let dynamic = self.write("traefik-routes.yml", &dynamic.to_string())?;
        let fixed = serde_json::json!({
            "entryPoints": {
                "secure": {"address": format!("127.0.0.1:{}", self.tls)},
                "plain": {"address": format!("127.0.0.1:{}", self.plain),
                    "http": {"redirections": {"entryPoint": {"to": format!(":{}", self.tls), "scheme": "https"}}}},
            },
            "providers": {"file": {"filename": dynamic}},
            "global": {"checkNewVersion": false, "sendAnonymousUsage": false},
        });
        let file = self.write("traefik.yml", &fixed.to_string())?;
        Ok(self.config(program, &["--configFile"], file, "traefik"))
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(path)
    }

    fn config(
        &self,
        program: impl Into<PathBuf>,
        options: &[&str],
        file: PathBuf,
        name: &str,
    ) -> ProxyConfig {
        ProxyConfig {
            program: program.into(),
            arguments: options.iter().map(PathBuf::from).chain([file]).collect(),
            log: self.folder.join(format!("{name}.log")),
            port: self.tls,
        }
    }
}

/// A configured proxy.
pub(crate) struct ProxyConfig {
    program: PathBuf,
    arguments: Vec<PathBuf>,
    log: PathBuf,
    port: u16,
}

/// A running proxy.
pub(crate) struct Proxy {
    process: Child,
}

impl ProxyConfig {
    /// Starts it and waits until the server behind it answers `path`.
    ///
    /// # Errors
    /// The process ends, or there is no such answer in time.
    pub(crate) async fn start(&self, client: &Client, path: &str) -> Result<Proxy> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let mut process = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start `{}`", self.program.display()))?;
        let url = Url::parse(&format!("https://localhost:{}{path}", self.port))?;
        wait_for("a proxy's first answer", START_LIMIT, async || {
            if let Some(status) = process.try_wait()? {
                let said = std::fs::read_to_string(&self.log)?;
                return Ok(Seen::Never(anyhow::anyhow!(
                    "the proxy ended with {status}:\n{said}"
                )));
            }
            let answer = client.get(url.clone()).send().await?;
            Ok(match answer.status().as_u16() {
                200 | 401 => Seen::Done(()),
                other => Seen::NotYet(format!("status {other}")),
            })
        })
        .await?;
        Ok(Proxy { process })
    }
}

impl Proxy {
    /// Ends it at once with all connections, and waits until it is gone.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.process.kill().await.context("cannot kill the proxy")
    }
}
