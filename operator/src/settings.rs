//! The operator's version and its settings, the same for every Registry.

/// The operator's version. The server's default image has the same one.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Registries that move to a new version of the operator at the same time, when nobody says otherwise.
pub const MAX_CONCURRENT_UPGRADES: usize = 5;

/// Settings of the operator, from its command line.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server's image for Registries that name none.
    pub registry_image: String,
    /// The one namespace whose Registries are reconciled; `None` for all namespaces.
    pub namespace: Option<String>,
    /// Registries whose Pods may be replaced at the same time because the operator has another version.
    pub max_concurrent_upgrades: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            registry_image: format!("berth/registry:{VERSION}"),
            namespace: None,
            max_concurrent_upgrades: MAX_CONCURRENT_UPGRADES,
        }
    }
}
