//! The specification's own conformance program against the server, with all its switches on.

use anyhow::{Context as _, Result, ensure};

use crate::cache::Cache;
use crate::exec::Exec;
use crate::images;
use crate::runner::Bench;
use crate::server::ServerSetup;
use crate::tools::Tool;

/// The tested versions of the specification: the released one, and the main branch.
const VERSIONS: [&str; 2] = ["1.1", "dev"];

/// The switches that are off by default at one of the two versions. All others are on by default at both.
const SWITCHES: [&str; 4] = [
    "OCI_API_BLOBS_DIGEST_HEADER",
    "OCI_API_BLOBS_UPLOAD_CANCEL",
    "OCI_API_MANIFESTS_DIGEST_HEADER",
    "OCI_API_MANIFESTS_TAG_PARAM",
];
/// Switches for manifests that name content which was not pushed, and for layers with external URLs. The server
/// refuses both by default, as distribution does.
const SPARSE: [&str; 2] = ["OCI_DATA_SPARSE", "OCI_DATA_NONDISTRIBUTABLE"];
/// The pattern for the program's external URLs.
const ELSEWHERE: &str = r"^https://store\.example\.com/";

/// At both versions: all checks but sparse manifests on a server with default settings, and all checks on a server
/// that accepts those.
pub(super) async fn conformance(bench: &Bench<'_>) -> Result<()> {
    for (name, references) in [("default", None), ("any", Some("any"))] {
        for version in VERSIONS {
            let dir = bench.dir.join(format!("{name}-{version}"));
            std::fs::create_dir(&dir).with_context(|| format!("cannot create `{}`", dir.display()))?;
            // This is on in the configuration of registry:3's image.
            let mut setup = ServerSetup::new(&images::server_program(), &dir)?
                .with("REGISTRY_STORAGE_DELETE_ENABLED", "true");
            if let Some(references) = references {
                setup = setup
                    .with("REGISTRY_VALIDATION_MANIFESTS_REFERENCES", references)
                    .with("REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW_0", ELSEWHERE);
            }
            let server = setup.start().await?;
            let counts = check(&dir, server.base(), version, references.is_some())
                .await
                .with_context(|| format!("version {version}, references {name}"))?;
            bench.note(format!("{version}, references {name}: {counts}"));
        }
    }
    Ok(())
}

async fn check(dir: &std::path::Path, base: &reqwest::Url, version: &str, sparse: bool) -> Result<Counts> {
    let program = Tool::Conformance.path(&Cache::open()?, |_| ()).await?;
    let results = dir.join("results");
    let registry = format!(
        "{}:{}",
        base.host_str().context("no host")?,
        base.port().context("no port")?
    );
    let mut run = Exec::new(&program)
        .env("OCI_REGISTRY", registry)
        .env("OCI_TLS", "disabled")
        .env("OCI_VERSION", version)
        .env("OCI_REPO1", "conformance/repo1")
        .env("OCI_REPO2", "conformance/repo2")
        .env("OCI_RESULTS_DIR", &results)
        .dir(dir);
    for switch in SWITCHES {
        run = run.env(switch, "true");
    }
    for switch in SPARSE {
        run = run.env(switch, sparse.to_string());
    }
    let run = run.output().await?;
    let text = run.all();
    let summary =
        std::fs::read_to_string(results.join("junit.xml")).with_context(|| format!("no results:\n{text}"))?;
    let counts = Counts::parse(&summary)?;
    ensure!(
        run.status.success() && counts.failed == 0 && counts.skipped == 0 && counts.total > 0,
        "{counts}\n{text}"
    );
    Ok(counts)
}

/// The counts in the `testsuite` elements of a JUnit file, where a count of 0 is left out. Checks behind a switch
/// that is off count as disabled.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    total: u64,
    failed: u64,
    skipped: u64,
    disabled: u64,
}

impl Counts {
    fn parse(xml: &str) -> Result<Self> {
        let mut counts = Self::default();
        for element in xml.split("<testsuite ").skip(1) {
            let element = element.split('>').next().unwrap_or_default();
            counts.total += attribute(element, "tests")?;
            counts.failed += attribute(element, "failures")? + attribute(element, "errors").unwrap_or(0);
            counts.skipped += attribute(element, "skipped").unwrap_or(0);
            counts.disabled += attribute(element, "disabled").unwrap_or(0);
        }
        Ok(counts)
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            total,
            failed,
            skipped,
            disabled,
        } = self;
        write!(
            f,
            "{total} checks, {failed} failed, {skipped} skipped, {disabled} switched off"
        )
    }
}

fn attribute(element: &str, name: &str) -> Result<u64> {
    let (_, rest) = element
        .split_once(&format!("{name}=\""))
        .with_context(|| format!("no `{name}` in `{element}`"))?;
    Ok(rest.split('"').next().unwrap_or_default().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_added_up_over_its_suites() {
        let xml = r#"<testsuites tests="9"><testsuite name="a" tests="5" failures="1" errors="1" skipped="0" disabled="2">
            <testcase/></testsuite><testsuite name="b" tests="4" failures="0" skipped="1"/></testsuites>"#;
        let expected = Counts {
            total: 9,
            failed: 2,
            skipped: 1,
            disabled: 2,
        };
        assert_eq!(Counts::parse(xml).unwrap(), expected);
        assert!(Counts::parse("<testsuite failures=\"0\">").is_err());
    }
}
