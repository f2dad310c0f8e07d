//! kind itself, with a docker that writes down what it is asked for: nothing here can pull the image of a node.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::*;
use crate::exec::Finished;

/// Answers what kind asks before it starts the node, and refuses to start one.
const DOCKER: &str = r#"#!/bin/sh
echo "$*" >> "$(dirname "$0")/asked"
case "$1 $2" in
  "info "*) echo '{"CgroupDriver": "systemd", "CgroupVersion": "2", "SecurityOptions": []}' ;;
  "network ls") echo 1234567890ab ;;
  "network inspect") echo '[{"Id": "1234567890ab"}]' ;;
  "run "*) echo "no node is started here" >&2; exit 125 ;;
esac
"#;

struct Asked {
    kind: Finished,
    docker: String,
    state: PathBuf,
    _folder: tempfile::TempDir,
}

/// Runs `kind create cluster` as the suite does, with a change to the configuration.
async fn create(change: impl FnOnce(String) -> String) -> Result<Asked> {
    let folder = tempfile::tempdir()?;
    let (state, bin) = (folder.path().join("state"), folder.path().join("bin"));
    prepare(&state)?;
    let config = state.join("cluster.yaml");
    let text = change(fs::read_to_string(&config)?);
    fs::write(&config, text)?;
    fs::create_dir(&bin)?;
    fs::write(bin.join("docker"), DOCKER)?;
    fs::set_permissions(bin.join("docker"), fs::Permissions::from_mode(0o755))?;
    let program = Tool::Kind
        .path(&Cache::open()?, |what| eprintln!("{what}"))
        .await?;
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let kind = create_command(&program, "berth-test", &state)
        .env("PATH", path)
        .env("KIND_EXPERIMENTAL_PROVIDER", "docker")
        .output()
        .await?;
    Ok(Asked {
        kind,
        docker: fs::read_to_string(bin.join("asked")).unwrap_or_default(),
        state,
        _folder: folder,
    })
}

#[tokio::test]
async fn kind_takes_the_configuration_and_asks_docker_for_the_node_that_is_meant() -> Result<()> {
    let asked = create(|config| config).await?;
    assert!(
        asked.kind.stderr.contains("no node is started here"),
        "kind did not get as far as the node:\n{}\n{}",
        asked.kind.all(),
        asked.docker
    );
    let run = asked
        .docker
        .lines()
        .find(|line| line.starts_with("run "))
        .context("kind asked for no container")?;
    let state = asked.state.display();
    for expected in [
        "--name berth-test-control-plane".to_owned(),
        format!("{state}/certs.d:/etc/containerd/certs.d"),
        format!("{state}/audit-policy.yaml:/etc/kubernetes/audit/policy.yaml:ro"),
        format!("{state}/audit:/var/log/kubernetes"),
        node_image().to_owned(),
    ] {
        assert!(run.contains(&expected), "no `{expected}` in\n{run}");
    }
    Ok(())
}

#[tokio::test]
async fn kind_refuses_a_configuration_with_a_field_that_it_does_not_know() -> Result<()> {
    let asked = create(|config| config.replace("extraMounts", "extraMountz")).await?;
    assert!(!asked.kind.status.success());
    assert!(asked.kind.stderr.contains("extraMountz"), "{}", asked.kind.all());
    Ok(())
}

#[tokio::test]
async fn the_programs_know_every_flag_that_is_passed() -> Result<()> {
    let program = Tool::Kind
        .path(&Cache::open()?, |what| eprintln!("{what}"))
        .await?;
    let load = load_command(&program, "berth-test", "berth/operator:0.1.0");
    // Flags are read before anything is done; `--help` at the end of the line keeps it at that.
    for command in [load, create_command(&program, "berth-test", Path::new("/state"))] {
        command.arg("--help").success().await?;
    }
    Ok(())
}

#[test]
fn the_ingress_controller_is_that_of_the_local_cluster() -> Result<()> {
    let tools = fs::read_to_string(crate::images::checkout().join("e2e/tools/traefik/go.mod"))?;
    assert!(
        tools.contains(&format!(
            "github.com/traefik/traefik/v3 {INGRESS_CONTROLLER_VERSION} "
        )),
        "the local cluster's Traefik is not {INGRESS_CONTROLLER_VERSION}"
    );
    let text = ingress_controller("192.0.2.1".parse()?);
    let objects: Vec<Value> = text
        .split("\n---\n")
        .map(|document| serde_saphyr::from_str(document).expect("YAML"))
        .collect();
    let container =
        &objects.last().context("there are no objects")?["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].as_array().context("no arguments")?;
    assert!(
        arguments.contains(&"--providers.kubernetesIngressNGINX.publishStatusAddress=192.0.2.1".into()),
        "{arguments:?}"
    );
    Ok(())
}

#[test]
fn names_of_the_domain_hold_the_address() {
    assert_eq!(domain_of("172.18.0.2".parse().unwrap()), "172-18-0-2.sslip.io");
}
