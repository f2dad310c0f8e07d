//! Connections to Redis: one server, a master that sentinels know, or a cluster, as in distribution's library.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, FromRedisValue,
    IntoConnectionInfo as _, ProtocolVersion, RedisConnectionInfo, RedisError, RedisResult, TlsCertificates,
    cmd,
};
use registry_config::Secret;

use crate::cache::Error;
use crate::files::pem;

/// The servers of Redis, and the settings of connections.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The Redis servers.
    pub servers: Servers,
    /// The number of the database.
    pub database: i64,
    /// User name for the login; Redis's default user when there is only a password.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// RESP3 rather than RESP2.
    pub resp3: bool,
    /// Client name of the connections.
    pub client_name: Option<String>,
    /// Whether connections send the name of the client library.
    pub identity: bool,
    /// A suffix of that name.
    pub identity_suffix: Option<String>,
    /// TLS, if connections are encrypted.
    pub tls: Option<Tls>,
    /// How long a connection may take.
    pub dial: Duration,
    /// How long an answer may take.
    pub patience: Duration,
}

/// The Redis servers by address: `host:port`, or for a single server also the path of a unix socket.
#[derive(Debug, Clone)]
pub enum Servers {
    /// One server.
    One(String),
    /// The members of a cluster, or some of them.
    Cluster(Vec<String>),
    /// The master that sentinels know under a name.
    Sentinels {
        /// The addresses of the sentinels.
        addresses: Vec<String>,
        /// The name of the master.
        master: String,
        /// User name for the login at the sentinels.
        username: Option<String>,
        /// The password.
        password: Option<Secret>,
    },
}

/// The files of TLS. They are read again for each connection, since certificates are replaced while a server runs.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// The client certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The trusted CAs; the system's when empty.
    pub ca_files: Vec<PathBuf>,
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(address) => f.write_str(address),
            Self::Cluster(addresses) => f.write_str(&addresses.join(", ")),
            Self::Sentinels {
                addresses, master, ..
            } => {
                write!(f, "{} (sentinels of `{master}`)", addresses.join(", "))
            }
        }
    }
}

/// A connection. Clones share it: concurrent commands are multiplexed.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(Box<ClusterConnection>),
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One(_) => "One",
            Self::Cluster(_) => "Cluster",
        })
    }
}

impl Connection {
    pub(super) async fn ask<T: FromRedisValue>(&mut self, question: &Cmd) -> RedisResult<T> {
        match self {
            Self::One(connection) => question.query_async(connection).await,
            Self::Cluster(connection) => question.query_async(&mut **connection).await,
        }
    }
}

impl Settings {
    /// Checks that the settings are valid and that their files can be read. Sends nothing.
    pub(super) fn check(&self) -> Result<(), Error> {
        let certificates = match &self.tls {
            Some(tls) => Some(tls.read()?),
            None => None,
        };
        match &self.servers {
            Servers::One(address) => self.client(address, certificates).map(drop),
            Servers::Cluster(addresses) => self.cluster(addresses, certificates).build().map(drop),
            Servers::Sentinels { .. } => self.sentinels(certificates).and_then(|all| all.build()).map(drop),
        }
        .map_err(Error::Settings)
    }

    /// Connects, and sends a `PING`.
    pub(super) async fn connect(&self) -> Result<Connection, Error> {
        // The files are small and seldom read, but reading blocks.
        let certificates = match self.tls.clone() {
            Some(tls) => match tokio::task::spawn_blocking(move || tls.read()).await {
                Ok(certificates) => Some(certificates?),
                Err(_) => return Err(self.away()),
            },
            None => None,
        };
        let connecting = self.connect_with(certificates);
        // Sentinels are asked one after the other, and a cluster's members all.
        let longest = self.dial + self.patience * 8;
        match tokio::time::timeout(longest, connecting).await {
            Ok(connected) => connected.map_err(|source| self.error(source)),
            Err(_) => Err(self.away()),
        }
    }

    pub(super) fn away(&self) -> Error {
        Error::Away {
            servers: self.servers.to_string(),
        }
    }

    pub(super) fn error(&self, source: RedisError) -> Error {
        Error::Redis {
            servers: self.servers.to_string(),
            source,
        }
    }

    async fn connect_with(&self, certificates: Option<TlsCertificates>) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.dial))
            .set_response_timeout(Some(self.patience));
        let mut connection = match &self.servers {
            Servers::One(address) => {
                let client = self.client(address, certificates)?;
                Connection::One(
                    client
                        .get_multiplexed_async_connection_with_config(&config)
                        .await?,
                )
            }
            Servers::Cluster(addresses) => {
                let client = self.cluster(addresses, certificates).build()?;
                Connection::Cluster(Box::new(client.get_async_connection().await?))
            }
            Servers::Sentinels { .. } => {
                let mut client = self.sentinels(certificates)?.build()?;
                Connection::One(client.get_async_connection_with_config(&config).await?)
            }
        };
        if let (Some(name), Connection::One(_)) = (&self.client_name, &connection) {
            connection
                .ask::<()>(cmd("CLIENT").arg("SETNAME").arg(name))
                .await?;
        }
        connection.ask::<()>(&cmd("PING")).await?;
        Ok(connection)
    }

    fn client(&self, address: &str, certificates: Option<TlsCertificates>) -> RedisResult<Client> {
        let mut redis = self.redis();
        if !self.identity {
            redis = redis.set_skip_set_lib_name();
        } else if let Some(suffix) = &self.identity_suffix {
            redis = redis.set_lib_name(format!("berth({suffix})"), env!("CARGO_PKG_VERSION"));
        }
        let info = self
            .address(address)
            .into_connection_info()?
            .set_redis_settings(redis);
        match certificates {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        }
    }

    fn cluster(&self, addresses: &[String], certificates: Option<TlsCertificates>) -> ClusterClientBuilder {
        let nodes = addresses.iter().map(|address| self.address(address));
        let mut builder = ClusterClientBuilder::new(nodes)
            .connection_timeout(self.dial)
            .response_timeout(self.patience)
            // Redirections are followed within these retries. When a command fails, the store is read.
            .retries(3)
            .max_retry_wait(50)
            .overall_response_timeout(Some(self.patience))
            .use_protocol(self.protocol());
        if let Some(username) = &self.username {
            builder = builder.username(username);
        }
        if let Some(password) = &self.password {
            builder = builder.password(password.expose());
        }
        if let Some(certificates) = certificates {
            builder = builder.certs(certificates);
        }
        builder
    }

    fn sentinels(&self, certificates: Option<TlsCertificates>) -> RedisResult<SentinelClientBuilder> {
        let Servers::Sentinels {
            addresses,
            master,
            username,
            password,
        } = &self.servers
        else {
            unreachable!("only asked for where there are sentinels")
        };
        let addresses = addresses.iter().map(|address| self.address(address));
        let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
            .set_client_to_redis_db(self.database)
            .set_client_to_redis_protocol(self.protocol());
        if let Some(username) = &self.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = &self.password {
            builder = builder.set_client_to_redis_password(password.expose());
        }
        if let Some(username) = username {
            builder = builder.set_client_to_sentinel_username(username);
        }
        if let Some(password) = password {
            builder = builder.set_client_to_sentinel_password(password.expose());
        }
        if let Some(certificates) = certificates {
            builder = builder
                .set_client_to_redis_tls_mode(redis::TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates);
        }
        Ok(builder)
    }

    fn redis(&self) -> RedisConnectionInfo {
        let mut redis = RedisConnectionInfo::default()
            .set_db(self.database)
            .set_protocol(self.protocol());
        if let Some(username) = &self.username {
            redis = redis.set_username(username);
        }
        if let Some(password) = &self.password {
            redis = redis.set_password(password.expose());
        }
        redis
    }

    fn protocol(&self) -> ProtocolVersion {
        match self.resp3 {
            true => ProtocolVersion::RESP3,
            false => ProtocolVersion::RESP2,
        }
    }

    /// Reads an address in the forms that the configuration accepts. Without a port, which the configuration refuses, it is
    /// Redis's default port.
    fn address(&self, text: &str) -> ConnectionAddr {
        if text.starts_with('/') {
            return ConnectionAddr::Unix(PathBuf::from(text));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        let host = match host.trim_start_matches('[').trim_end_matches(']') {
            // As in Go, an address without a host is on this machine.
            "" => "localhost",
            host => host,
        };
        let (host, port) = (host.to_owned(), port.parse().unwrap_or(6379));
        match self.tls {
            Some(_) => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
            None => ConnectionAddr::Tcp(host, port),
        }
    }
}

impl Tls {
    /// Reads the files. Blocks.
    fn read(&self) -> Result<TlsCertificates, Error> {
        let unreadable = |path: &PathBuf| {
            let path = path.clone();
            move |source| Error::File { path, source }
        };
        // The library reads only PEM in the form that it writes itself.
        let certificates = |path: &PathBuf| -> Result<Vec<u8>, Error> {
            let found = pem::certificates(path).map_err(unreadable(path))?;
            let written = found
                .iter()
                .map(|certificate| pem::encode("CERTIFICATE", certificate));
            Ok(written.collect::<String>().into_bytes())
        };
        let client_tls = match &self.identity {
            Some((certificate, key)) => {
                let found = pem::key(key).map_err(unreadable(key))?;
                Some(ClientTlsConfig {
                    client_cert: certificates(certificate)?,
                    client_key: pem::encode(pem::label(&found), found.secret_der()).into_bytes(),
                })
            }
            None => None,
        };
        let mut roots = Vec::new();
        for path in &self.ca_files {
            roots.extend(certificates(path)?);
        }
        Ok(TlsCertificates {
            client_tls,
            root_cert: Some(roots).filter(|_| !self.ca_files.is_empty()),
        })
    }
}
