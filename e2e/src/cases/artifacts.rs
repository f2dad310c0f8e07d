//! Artifacts: pushed, attached, listed and pulled by oras and regctl.
//!
//! The two clients read answers differently. oras follows the `Link` headers of referrers and filters by
//! `artifactType`; regctl asks for the referrers API first and compares types itself.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::cache::Cache;
use crate::exec::Exec;
use crate::images;
use crate::protocol::noise;
use crate::runner::Bench;
use crate::server::ServerSetup;
use crate::tools::Tool;

/// A media type with a plus, which a query may carry as it is or escaped.
const SBOM: &str = "application/spdx+json";
/// A media type with capital letters.
const REPORT: &str = "application/vnd.Example.Report.v1+json";

/// regctl lists and pulls what oras pushes and attaches, and the other way round.
pub(super) async fn artifacts_go_round(bench: &Bench<'_>) -> Result<()> {
    let cache = Cache::open()?;
    let clients = Clients {
        oras: Exec::new(Tool::Oras.path(&cache, |_| ()).await?),
        regctl: Exec::new(Tool::Regctl.path(&cache, |_| ()).await?),
        home: bench.dir.to_owned(),
    };
    let server = ServerSetup::new(&images::server_program(), bench.dir)?
        .with("REGISTRY_STORAGE_DELETE_ENABLED", "true")
        .start()
        .await?;
    let host = server.base().authority().to_owned();
    clients
        .regctl(&["registry", "set", "--tls", "disabled", &host])
        .await?;
    let image = format!("{host}/artifacts/subject:1");
    fs::write(bench.dir.join("layer"), noise(11, 3 << 20))?;
    fs::write(bench.dir.join("sbom.json"), r#"{"spdxVersion": "SPDX-2.3"}"#)?;
    fs::write(bench.dir.join("report.json"), r#"{"findings": []}"#)?;

    clients
        .oras(&["push", "--plain-http", &image, "layer:application/octet-stream"])
        .await?;
    for (kind, file) in [(SBOM, "sbom.json"), (REPORT, "report.json")] {
        clients
            .oras(&[
                "attach",
                "--plain-http",
                "--artifact-type",
                kind,
                &image,
                &format!("{file}:application/json"),
            ])
            .await?;
    }
    for kind in [SBOM, REPORT] {
        let listed: Value = serde_json::from_str(
            &clients
                .oras(&[
                    "discover",
                    "--plain-http",
                    "--format",
                    "json",
                    "--artifact-type",
                    kind,
                    &image,
                ])
                .await?,
        )?;
        let referrers = listed["referrers"]
            .as_array()
            .with_context(|| format!("oras lists no referrers: {listed}"))?;
        let kinds: Vec<&str> = referrers
            .iter()
            .filter_map(|referrer| referrer["artifactType"].as_str())
            .collect();
        ensure!(
            kinds == [kind],
            "oras discover --artifact-type {kind} lists {kinds:?}"
        );
        let listed = clients
            .regctl(&[
                "artifact",
                "list",
                "--filter-artifact-type",
                kind,
                "--format",
                "{{range .Descriptors}}{{.ArtifactType}}{{end}}",
                &image,
            ])
            .await?;
        ensure!(
            listed.trim() == kind,
            "regctl artifact list --filter-artifact-type {kind} lists {listed:?}"
        );
    }

    // regctl copies the image with its referrers inside the registry, by mounts.
    let copy = format!("{host}/artifacts/copy:1");
    clients
        .regctl(&["image", "copy", "--referrers", &image, &copy])
        .await?;
    let pulled = bench.dir.join("pulled");
    fs::create_dir(&pulled)?;
    clients
        .oras(&[
            "pull",
            "--plain-http",
            "--output",
            &pulled.display().to_string(),
            &copy,
        ])
        .await?;
    ensure!(
        fs::read(pulled.join("layer"))? == fs::read(bench.dir.join("layer"))?,
        "the layer that oras pulled from regctl's copy differs from what it pushed"
    );
    let report = clients
        .regctl(&[
            "artifact",
            "get",
            "--subject",
            &copy,
            "--filter-artifact-type",
            REPORT,
        ])
        .await?;
    ensure!(
        report == fs::read_to_string(bench.dir.join("report.json"))?,
        "regctl got {report:?}"
    );

    let repository = format!("{host}/artifacts/copy");
    clients.regctl(&["tag", "delete", &copy]).await?;
    let tags = clients.regctl(&["tag", "list", &repository]).await?;
    ensure!(
        !tags.lines().any(|tag| tag == "1"),
        "regctl lists a deleted tag: {tags:?}"
    );
    bench.note("oras and regctl: push, attach, discover by type, copy with referrers, pull, delete");
    Ok(())
}

/// oras and regctl, with their settings in a folder of the case.
struct Clients {
    oras: Exec,
    regctl: Exec,
    home: std::path::PathBuf,
}

impl Clients {
    async fn oras(&self, args: &[&str]) -> Result<String> {
        self.run(self.oras.clone(), args).await
    }

    async fn regctl(&self, args: &[&str]) -> Result<String> {
        self.run(self.regctl.clone(), args).await
    }

    async fn run(&self, program: Exec, args: &[&str]) -> Result<String> {
        let home: &Path = &self.home;
        program
            .args(args)
            .env("HOME", home.display().to_string())
            .dir(home)
            .success()
            .await
    }
}
