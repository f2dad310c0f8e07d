//! The `docker run` lines that people use with registry:2 and registry:3, with only the image's name changed.
//!
//! Each line runs in a docker engine of the suite, then an image is pushed to the registry and pulled back.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::clients::Clients;
use crate::exec::Exec;
use crate::local;
use crate::provider::Cluster;
use crate::runner::Context;
use crate::wait::{Seen, wait_for};

/// Time limit for a container's answer. Generous, because the machine may be busy.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// The largest sizes of the images, in bytes. The operator parses every kind of object that it watches.
const REGISTRY_IMAGE_MAX: u64 = 25_000_000;
const OPERATOR_IMAGE_MAX: u64 = 33_000_000;

/// A docker engine, the image under test, and an image to push.
struct DockerRun<'a> {
    cluster: &'a Cluster,
    image: &'a str,
    sample: &'a str,
    folder: &'a Path,
}

/// A container that is removed, with its anonymous volumes, by [`Container::remove`].
struct Container<'a> {
    engine: &'a DockerRun<'a>,
    id: String,
}

/// All the lines one after the other, because they use the same ports.
pub(super) async fn known_lines_work(context: &Context<'_>) -> Result<()> {
    let (_, image) = context.cluster.images();
    let engine = DockerRun {
        cluster: context.cluster,
        image,
        sample: local::BUSYBOX_IMAGE,
        folder: context.dir,
    };
    engine.clients().load_first_images().await?;
    let mut done = 0;
    for (name, line) in [
        ("plain", vec!["-p", "5000:5000"]),
        (
            "with a volume",
            vec![
                "-p",
                "5000:5000",
                "--restart=always",
                "-v",
                "{folder}/data:/var/lib/registry",
            ],
        ),
        (
            "with variables",
            vec![
                "-p",
                "5000:5001",
                "-e",
                "REGISTRY_HTTP_ADDR=0.0.0.0:5001",
                "-e",
                "REGISTRY_STORAGE_DELETE_ENABLED=true",
            ],
        ),
        (
            "with another root",
            vec![
                "-p",
                "5000:5000",
                "-e",
                "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/elsewhere",
                "-v",
                "{folder}/elsewhere:/elsewhere",
            ],
        ),
    ] {
        let container = engine
            .run(&line, &[])
            .await
            .with_context(|| format!("`docker run` {name}"))?;
        container
            .is_used()
            .await
            .with_context(|| format!("`docker run` {name}"))?;
        container.remove().await?;
        done += 1;
    }
    ensure!(
        engine
            .folder
            .join("data/docker/registry/v2/repositories/sample")
            .is_dir(),
        "nothing lies in the mounted volume"
    );
    ensure!(
        engine.folder.join("elsewhere/docker/registry/v2/blobs").is_dir(),
        "the named root folder is empty"
    );
    done += engine.password_file().await?;
    done += engine.certificate().await?;
    done += engine.mounted_configurations().await?;
    done += engine.names_and_exits().await?;
    let (operator, registry) = context.cluster.images();
    for (image, most) in [(operator, OPERATOR_IMAGE_MAX), (registry, REGISTRY_IMAGE_MAX)] {
        let size = engine
            .docker()
            .args(["image", "inspect", "--format", "{{.Size}}", image])
            .success()
            .await?;
        let size: u64 = size.trim().parse()?;
        ensure!(size <= most, "`{image}` has {size} bytes, {most} are allowed");
        context.note(format!("{image}: {} kB", size / 1000));
    }
    context.note(format!("{done} lines"));
    Ok(())
}

impl<'a> DockerRun<'a> {
    /// `docker run -d <options> <image> <arguments>`. `{folder}` in an option is the case's own folder.
    async fn run(&'a self, options: &[&str], arguments: &[&str]) -> Result<Container<'a>> {
        let folder = self
            .folder
            .to_str()
            .context("the temporary folder's name is not UTF-8")?;
        let id = self
            .docker()
            .args(["run", "-d"])
            .args(options.iter().map(|option| option.replace("{folder}", folder)))
            .arg(self.image)
            .args(arguments)
            .success()
            .await?;
        Ok(Container {
            engine: self,
            id: id.trim().to_owned(),
        })
    }

    fn docker(&self) -> Exec {
        self.clients().docker()
    }

    /// Clients with logins of the case's own.
    fn clients(&self) -> Clients<'_> {
        Clients::new(self.cluster, self.folder)
    }

    /// A password file made by the image itself, and a registry that uses it.
    async fn password_file(&self) -> Result<usize> {
        let line = self
            .docker()
            .args([
                "run",
                "--rm",
                "--entrypoint",
                "htpasswd",
                self.image,
                "-Bbn",
                "testuser",
                "testpassword",
            ])
            .success()
            .await?;
        ensure!(
            line.starts_with("testuser:$2y$"),
            "`htpasswd -Bbn` printed {line:?}"
        );
        std::fs::create_dir_all(self.folder.join("auth"))?;
        std::fs::write(self.folder.join("auth/htpasswd"), line)?;
        let container = self
            .run(
                &[
                    "-p",
                    "5000:5000",
                    "-v",
                    "{folder}/auth:/auth",
                    "-e",
                    "REGISTRY_AUTH=htpasswd",
                    "-e",
                    "REGISTRY_AUTH_HTPASSWD_REALM=Registry Realm",
                    "-e",
                    "REGISTRY_AUTH_HTPASSWD_PATH=/auth/htpasswd",
                ],
                &[],
            )
            .await?;
        let head = container.answers(&["http://localhost:5000/v2/"], "401").await?;
        ensure!(
            head.to_lowercase()
                .contains("www-authenticate: basic realm=\"registry realm\""),
            "no challenge in:\n{head}"
        );
        container
            .answers(&["--user", "testuser:wrong", "http://localhost:5000/v2/"], "401")
            .await?;
        self.docker()
            .args([
                "login",
                "localhost:5000",
                "--username",
                "testuser",
                "--password-stdin",
            ])
            .stdin("testpassword")
            .success()
            .await?;
        container.is_used().await?;
        self.docker().args(["logout", "localhost:5000"]).success().await?;
        container.remove().await?;
        Ok(2)
    }

    /// TLS from files.
    async fn certificate(&self) -> Result<usize> {
        let certs = self.folder.join("certs");
        std::fs::create_dir_all(&certs)?;
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        std::fs::write(certs.join("domain.crt"), made.cert.pem())?;
        std::fs::write(certs.join("domain.key"), made.signing_key.serialize_pem())?;
        let container = self
            .run(
                &[
                    "-p",
                    "5000:443",
                    "-v",
                    "{folder}/certs:/certs",
                    "-e",
                    "REGISTRY_HTTP_ADDR=0.0.0.0:443",
                    "-e",
                    "REGISTRY_HTTP_TLS_CERTIFICATE=/certs/domain.crt",
                    "-e",
                    "REGISTRY_HTTP_TLS_KEY=/certs/domain.key",
                ],
                &[],
            )
            .await?;
        let ca = certs.join("domain.crt");
        let ca = ca.to_str().context("the temporary folder's name is not UTF-8")?;
        container
            .answers(&["--cacert", ca, "https://localhost:5000/v2/"], "200")
            .await?;
        container.is_used().await?;
        container.remove().await?;
        Ok(1)
    }

    /// A custom configuration, as a file and as a folder, at the path of either version (ADR 0004), and as an
    /// argument.
    async fn mounted_configurations(&self) -> Result<usize> {
        let folder = self.folder.join("config");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(
            folder.join("config.yml"),
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: /var/lib/registry\nhttp:\n  addr: :5000\n  headers:\n    X-Mounted: [yes-it-is]\n",
        )?;
        let file = "{folder}/config/config.yml";
        let lines: [(String, &[&str]); 6] = [
            (format!("{file}:/etc/docker/registry/config.yml"), &[]),
            (format!("{file}:/etc/distribution/config.yml"), &[]),
            ("{folder}/config:/etc/docker/registry".to_owned(), &[]),
            ("{folder}/config:/etc/distribution".to_owned(), &[]),
            (format!("{file}:/my.yml"), &["/my.yml"]),
            (format!("{file}:/my.yml"), &["serve", "/my.yml"]),
        ];
        let count = lines.len();
        for (mount, arguments) in lines {
            let container = self.run(&["-p", "5000:5000", "-v", &mount], arguments).await?;
            let head = container
                .answers(&["http://localhost:5000/v2/"], "200")
                .await
                .with_context(|| format!("with -v {mount}"))?;
            ensure!(
                head.to_lowercase().contains("x-mounted: yes-it-is"),
                "-v {mount} {arguments:?} is not what is served:\n{head}"
            );
            container.remove().await?;
        }
        Ok(count)
    }

    /// The names of the binary, a graceful stop, and a configuration that cannot work.
    async fn names_and_exits(&self) -> Result<usize> {
        for command in [
            &["registry", "--version"][..],
            &["--version"],
            &["/bin/registry-server", "--version"],
        ] {
            let said = self
                .docker()
                .args(["run", "--rm", self.image])
                .args(command)
                .success()
                .await?;
            ensure!(said.contains("registry"), "`{command:?}` printed {said:?}");
        }
        let container = self.run(&["-p", "5000:5000"], &[]).await?;
        container.answers(&["http://localhost:5000/v2/"], "200").await?;
        self.docker()
            .args(["stop", "--time", "60", &container.id])
            .success()
            .await?;
        let code = self.docker().args(["wait", &container.id]).success().await?;
        ensure!(code.trim() == "0", "`docker stop` ended it with {code}");
        container.remove().await?;

        let bad = self
            .docker()
            .args(["run", "--rm", "-e", "REGISTRY_LOG_LEVEL=loud", self.image])
            .output()
            .await?;
        ensure!(
            bad.status.code() == Some(2),
            "a bad variable ended with {}",
            bad.status
        );
        ensure!(
            bad.stderr.contains("REGISTRY_LOG_LEVEL") && bad.stderr.contains("loud"),
            "{}",
            bad.stderr
        );
        Ok(5)
    }
}

impl Container<'_> {
    /// Waits until a URL answers with a status, and gives the answer's head.
    async fn answers(&self, curl: &[&str], status: &str) -> Result<String> {
        let request = self.engine.cluster.node(
            Exec::new("curl")
                .args([
                    "--silent",
                    "--show-error",
                    "--noproxy",
                    "*",
                    "--dump-header",
                    "-",
                    "--output",
                    "/dev/null",
                ])
                .args(curl),
        );
        wait_for(&format!("{status} from {curl:?}"), ANSWER_LIMIT, async || {
            let done = request.output().await?;
            if done.stdout.split_whitespace().nth(1) == Some(status) {
                return Ok(Seen::Done(done.stdout));
            }
            let running = self
                .engine
                .docker()
                .args(["inspect", "--format", "{{.State.Status}}", &self.id])
                .success()
                .await?;
            let state = format!("{}{}", done.stdout, done.stderr);
            if running.trim() == "exited" {
                let log = self
                    .engine
                    .docker()
                    .args(["logs", &self.id])
                    .output()
                    .await?
                    .all();
                return Ok(Seen::Never(anyhow::anyhow!("the container has ended:\n{log}")));
            }
            Ok(Seen::NotYet(state))
        })
        .await
    }

    /// Pushes the sample and pulls it back.
    async fn is_used(&self) -> Result<()> {
        let target = "localhost:5000/sample:1";
        let docker = || self.engine.docker();
        docker()
            .args(["tag", self.engine.sample, target])
            .success()
            .await?;
        // For localhost the daemon tries HTTPS first and falls back by itself. Waiting here until the container
        // listens spares the push a retry.
        self.listens().await?;
        docker().args(["push", target]).success().await?;
        docker().args(["rmi", target]).success().await?;
        docker().args(["pull", target]).success().await?;
        docker().args(["rmi", target]).success().await?;
        Ok(())
    }

    async fn listens(&self) -> Result<()> {
        let request = self.engine.cluster.node(Exec::new("curl").args([
            "--silent",
            "--insecure",
            "--noproxy",
            "*",
            "--output",
            "/dev/null",
        ]));
        wait_for("an answer on localhost:5000", ANSWER_LIMIT, async || {
            for url in ["http://localhost:5000/", "https://localhost:5000/"] {
                if request.clone().arg(url).output().await?.status.success() {
                    return Ok(Seen::Done(()));
                }
            }
            Ok(Seen::NotYet(
                self.engine
                    .docker()
                    .args(["logs", "--tail", "5", &self.id])
                    .output()
                    .await?
                    .all(),
            ))
        })
        .await
    }

    async fn remove(self) -> Result<()> {
        self.engine
            .docker()
            .args(["rm", "--force", "--volumes", &self.id])
            .success()
            .await?;
        Ok(())
    }
}
