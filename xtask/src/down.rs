//! `cargo xtask down`: ends the cluster and names what stays.

use anyhow::Result;
use e2e::cache::Cache;
use e2e::kind::Kind;
use e2e::local::Local;
use e2e::output::Output;
use e2e::packages::PACKAGES;

pub(crate) async fn down(name: &str, out: &Output) -> Result<()> {
    let cache = Cache::open()?;
    if Kind::was_started(&cache, name) {
        let stop = async |_| Kind::stop(&cache, name).await;
        out.step("Stopping", &format!("kind cluster `{name}`"), stop)
            .await?;
        return Ok(());
    }
    let existed = out
        .step("Stopping", &format!("local cluster `{name}`"), async |_| {
            Local::stop(&cache, name).await
        })
        .await?;
    if !existed {
        out.say("Nothing", &format!("no local cluster `{name}` was there"));
    }
    let packages: Vec<&str> = PACKAGES.iter().map(|package| package.name).collect();
    out.say("Staying", &format!("Debian packages {}", packages.join(" ")));
    out.say(
        "Staying",
        &format!(
            "compiled programs in {}, to be deleted at will",
            cache.root().display()
        ),
    );
    Ok(())
}
