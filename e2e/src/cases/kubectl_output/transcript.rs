//! kubectl's commands and what they print, as a page. Start at [`Transcript::run`].

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::exec::Exec;
use crate::provider::Cluster;

/// The beginning of the page.
const TITLE: &str = "\
# The life of a Registry

Written by the suite's case \"kubectl tells a Registry's life, from its birth to its deletion\": what `kubectl` prints is here as it
was printed, with its times and hashes. The namespace is the current one.
";

/// A page that grows.
pub(super) struct Transcript<'a> {
    cluster: &'a Cluster,
    namespace: String,
    page: String,
}

impl<'a> Transcript<'a> {
    /// An empty page about a namespace.
    pub(super) fn new(cluster: &'a Cluster, namespace: &str) -> Self {
        Self {
            cluster,
            namespace: namespace.to_owned(),
            page: TITLE.to_owned(),
        }
    }

    /// Begins a section.
    pub(super) fn heading(&mut self, text: &str) {
        self.page = format!("{}\n\n## {text}\n", self.page.trim_end());
    }

    /// Adds a sentence.
    pub(super) fn say(&mut self, text: &str) {
        self.page += &format!("{text}\n\n");
    }

    /// Runs kubectl, writes the command and what it printed, and gives the latter.
    pub(super) async fn run(&mut self, args: &[&str]) -> Result<String> {
        self.write(self.kubectl(args), &args.join(" ")).await
    }

    /// Applies an object, shown as a file.
    pub(super) async fn apply(&mut self, file: &str, object: &Value) -> Result<()> {
        let yaml = serde_saphyr::to_string(object)?;
        self.page += &format!("```yaml\n# {file}\n{}\n```\n\n", yaml.trim_end());
        let command = self.kubectl(&["apply", "--filename=-"]).stdin(object.to_string());
        self.write(command, &format!("apply --filename={file}"))
            .await
            .map(drop)
    }

    /// Changes a Registry's spec by a merge patch.
    pub(super) async fn patch(&mut self, name: &str, spec: &Value) -> Result<()> {
        let patch = json!({"spec": spec}).to_string();
        let command = self.kubectl(&["patch", "registry", name, "--type=merge", "--patch", &patch]);
        let line = format!("patch registry {name} --type=merge --patch '{patch}'");
        self.write(command, &line).await.map(drop)
    }

    /// Runs kubectl and gives what it printed.
    pub(super) async fn look(&self, args: &[&str]) -> Result<String> {
        self.kubectl(args).success().await
    }

    /// Runs kubectl without a line on the page.
    pub(super) async fn silently(&self, args: &[&str]) -> Result<()> {
        self.look(args).await.map(drop)
    }

    /// The page.
    pub(super) fn page(&self) -> String {
        format!("{}\n", self.page.trim_end())
    }

    async fn write(&mut self, command: Exec, line: &str) -> Result<String> {
        let finished = command.output().await?;
        let printed = finished.all();
        ensure!(
            finished.status.success(),
            "`kubectl {line}` ended with {}:\n{printed}",
            finished.status
        );
        let lines: Vec<&str> = printed.trim_end().lines().map(str::trim_end).collect();
        self.page += &format!("```console\n$ kubectl {line}\n{}\n```\n\n", lines.join("\n"));
        Ok(printed)
    }

    fn kubectl(&self, args: &[&str]) -> Exec {
        let namespace = format!("--namespace={}", self.namespace);
        self.cluster.kubectl().arg(namespace).args(args)
    }
}
