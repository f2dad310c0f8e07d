//! The objects from which the Pods read.

/// Names of the objects from which the Pods read.
pub(in crate::build) struct Sources {
    /// The ConfigMap with `config.yml`; `None` when the inputs hold it.
    pub(in crate::build) config: Option<String>,
    /// The Secret with the inputs.
    pub(in crate::build) inputs: String,
    /// The Secret that the server reads again while it runs.
    pub(in crate::build) live: String,
}
