//! The versions that a run of the suite is made with, for its output: a result is worth little without them.
//!
//! Guarantees: what a cluster runs is asked of its API server, and never assumed. Start at [`of_cluster`].

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;

use crate::exec::Exec;
use crate::output::Output;
use crate::packages::PACKAGES;
use crate::provider::Cluster;
use crate::tools::Tool;

/// The longest line, without the verb in front of it.
const WIDTH: usize = 110;

/// Prints what this machine's cases run: the programs that are compiled here, and Debian's.
///
/// # Errors
/// A `go.mod` cannot be read, or dpkg does not run.
pub(crate) async fn tell_of_programs(out: &Output) -> Result<()> {
    let mut compiled = Vec::new();
    for tool in Tool::ALL {
        let tool = if tool == Tool::Kubernetes {
            Tool::kubernetes()?
        } else {
            tool
        };
        if let Some(release) = tool.release()? {
            compiled.push(format!("{} {release}", tool.name()));
        }
    }
    tell("Compiled", &compiled, out);
    let names = PACKAGES.map(|package| package.name);
    let installed = Exec::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${Version}\\n"])
        .args(names)
        .output()
        .await
        .context("cannot ask dpkg for versions")?;
    // A package that is missing is no error, and has no version: its program may come from elsewhere.
    let lines = installed.stdout.lines().filter(|line| !line.ends_with(' '));
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    tell("Installed", &lines, out);
    Ok(())
}

/// Prints what a cluster runs.
///
/// # Errors
/// The API server does not answer.
pub(crate) async fn tell_of_cluster(cluster: &Cluster, out: &Output) -> Result<()> {
    tell("Cluster", &of_cluster(cluster).await?, out);
    Ok(())
}

/// The API server's version, and what each node says of itself.
async fn of_cluster(cluster: &Cluster) -> Result<Vec<String>> {
    let client = cluster.client().await?;
    let server = client
        .apiserver_version()
        .await
        .context("the API server does not tell its version")?;
    let mut lines = vec![format!("Kubernetes {}", server.git_version)];
    let nodes: Api<Node> = Api::all(client);
    for node in nodes.list(&ListParams::default()).await? {
        let name = node.metadata.name.unwrap_or_default();
        let Some(info) = node.status.and_then(|status| status.node_info) else {
            lines.push(format!("{name} tells nothing"));
            continue;
        };
        lines.push(format!(
            "{name}: kubelet {} on {}, {}, Linux {}",
            info.kubelet_version, info.container_runtime_version, info.os_image, info.kernel_version
        ));
    }
    Ok(lines)
}

fn tell(verb: &str, items: &[String], out: &Output) {
    for line in wrapped(items) {
        out.say(verb, &line);
    }
}

/// The items in lines that a terminal shows whole.
fn wrapped(items: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        match lines.last_mut() {
            Some(line) if line.len() + item.len() + 2 <= WIDTH => {
                line.push_str(", ");
                line.push_str(item);
            }
            _ => lines.push(item.clone()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_item_is_lost_or_cut_when_lines_are_filled() {
        let items: Vec<String> = (0..40).map(|number| format!("program-{number} v1.0.0")).collect();
        let lines = wrapped(&items);
        assert!(lines.iter().all(|line| line.len() <= WIDTH));
        assert_eq!(lines.join(", "), items.join(", "));
        assert!(wrapped(&[]).is_empty());
    }
}
