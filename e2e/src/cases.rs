//! Every case of the suite, in the order in which they run.
//!
//! To add one: write `async fn(&Context<'_>) -> Result<()>` in a file of `cases/`, and a line here. Its name is a
//! sentence about behaviour. Start at [`all`].

use crate::case;
use crate::runner::Case;

mod basics;

/// All cases.
#[must_use]
pub fn all() -> Vec<Case> {
    vec![case!(
        Client,
        "docker pushes and a kubelet runs what was pushed",
        basics::docker_pushes_and_a_kubelet_runs
    )]
}
