//! Which kind of cluster `up`, `down`, `kubectl` and `test` use.
//!
//! Guarantees: a cluster that runs is found whichever kind it is. Start at [`Provider::of`].

use anyhow::Result;
use clap::ValueEnum;
use e2e::cache::Cache;
use e2e::kind::Kind;
use e2e::local::Local;
use e2e::output::Output;

/// A way to make a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Provider {
    /// kind, in this machine's docker: minutes, where docker can pull images.
    Kind,
    /// Compiled from Go modules, in namespaces of this machine: works without any image, and takes half an hour at first.
    Local,
}

impl Provider {
    /// The provider that was asked for; else that of the running cluster of this name; else kind where docker can pull its
    /// image.
    ///
    /// # Errors
    /// The cache cannot be read, or kind does not run.
    pub(crate) async fn of(asked: Option<Self>, name: &str, cache: &Cache, out: &Output) -> Result<Self> {
        if let Some(asked) = asked {
            return Ok(asked);
        }
        if Kind::was_started(cache, name) {
            return Ok(Self::Kind);
        }
        if Local::was_started(cache, name) {
            return Ok(Self::Local);
        }
        if Kind::is_possible().await {
            out.say(
                "Taking",
                "kind, because docker can pull images; `--cluster local` compiles a cluster",
            );
            return Ok(Self::Kind);
        }
        Ok(Self::Local)
    }
}
