//! Where the configuration comes from.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use registry_config::{Loaded, load};

use super::output::Output;

/// Where registry:3 and registry:2 look, in this order.
const DEFAULTS: [&str; 2] = ["/etc/distribution/config.yml", "/etc/docker/registry/config.yml"];

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A file that was named cannot be read.
    #[error("cannot read the configuration `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What was read is wrong.
    #[error("{} errors in {place}", errors.len())]
    Invalid {
        /// The file, or words for the built-in configuration.
        place: String,
        /// Each one line.
        errors: Vec<registry_config::Error>,
    },
}

impl Error {
    /// Prints it: one line per thing that is wrong. All of it is the caller's to mend.
    pub(super) fn print(&self, output: &Output) {
        match self {
            Self::Read { .. } => output.error("", self),
            Self::Invalid { place, errors } => errors.iter().for_each(|error| output.error(place, error)),
        }
    }
}

/// A configuration and where it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) loaded: Loaded,
    /// The file, or words for the built-in configuration.
    pub(super) place: String,
}

/// Reads the named file, the one of `REGISTRY_CONFIGURATION_PATH`, the first default that is there, or else the
/// built-in configuration, and lays the variables over it.
pub(super) fn find(named: Option<PathBuf>) -> Result<Found, Error> {
    let by_variable = std::env::var_os("REGISTRY_CONFIGURATION_PATH").filter(|path| !path.is_empty());
    let path = named
        .or_else(|| by_variable.map(PathBuf::from))
        .or_else(|| DEFAULTS.iter().map(PathBuf::from).find(|path| path.exists()));
    let (text, place) = match path {
        Some(path) => {
            let place = path.display().to_string();
            (
                std::fs::read_to_string(&path).map_err(|source| Error::Read { path, source })?,
                place,
            )
        }
        None => {
            let folder = local_folder(std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME"));
            (built_in(&folder), "the built-in configuration".to_owned())
        }
    };
    // What is not UTF-8 cannot name a key, and as a value it has no meaning in YAML.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    found(&text, variables, place)
}

/// Reads a file as it is. For commands that take two: variables would make one of them the other.
pub(super) fn file(path: &Path) -> Result<Found, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    found(&text, [], path.display().to_string())
}

fn found(
    text: &str,
    variables: impl IntoIterator<Item = (String, String)>,
    place: String,
) -> Result<Found, Error> {
    match load(text, variables) {
        Ok(loaded) => Ok(Found { loaded, place }),
        Err(errors) => Err(Error::Invalid { place, errors }),
    }
}

/// What is served when nobody configured anything: this user's own registry, on this machine only.
fn built_in(folder: &Path) -> String {
    let mut tree = registry_config::Tree::of(&registry_config::Config::default());
    tree.set("storage.filesystem.rootdirectory", &folder.to_string_lossy());
    tree.set("http.addr", "127.0.0.1:5000");
    tree.to_yaml()
}

/// Where this user's programs keep data (XDG base directory specification), or the current folder without a home.
fn local_folder(data: Option<OsString>, home: Option<OsString>) -> PathBuf {
    // Paths that are not absolute are to be ignored, says the specification.
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(data)
        .or_else(|| absolute(home).map(|home| home.join(".local/share")))
        .map_or_else(
            || PathBuf::from("berth-registry"),
            |data| data.join("berth/registry"),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(data: Option<&str>, home: Option<&str>, expected: &str) {
        assert_eq!(
            local_folder(data.map(Into::into), home.map(Into::into)),
            Path::new(expected),
            "{data:?} {home:?}"
        );
    }

    #[test]
    fn without_configuration_data_lies_where_the_users_data_lies() {
        check(Some("/data"), Some("/home/ann"), "/data/berth/registry");
        check(None, Some("/home/ann"), "/home/ann/.local/share/berth/registry");
        check(
            Some("relative"),
            Some("/home/ann"),
            "/home/ann/.local/share/berth/registry",
        );
        check(Some(""), None, "berth-registry");
    }

    #[test]
    fn the_built_in_configuration_is_a_valid_one_on_this_machine_only() {
        let config = load(&built_in(Path::new("/data/it's: here")), []).unwrap().config;
        assert_eq!(config.http.addr.as_deref(), Some("127.0.0.1:5000"));
        assert_eq!(config.storage.filesystem.unwrap().root(), "/data/it's: here");
    }
}
