//! The source of the configuration: a file, the environment, or the program itself.
//!
//! Guarantees: a file or variable that cannot be read is an error, never passed over: another configuration could open a
//! registry that this one closes.
//! Start at [`find`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use registry_config::{Loaded, Origin, load};

use super::features::{self, NotBuilt};
use super::output::Output;
use crate::files::text;

/// The default files of registry:3 and registry:2, in the order in which they are looked for.
const DEFAULTS: [&str; 2] = ["/etc/distribution/config.yml", "/etc/docker/registry/config.yml"];

/// The variable that names the file, for callers that cannot pass arguments.
const VARIABLE: &str = "REGISTRY_CONFIGURATION_PATH";

fn named_by(variable: bool) -> String {
    match variable {
        true => format!(" (variable {VARIABLE})"),
        false => String::new(),
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A file that was named cannot be read.
    #[error("cannot read the configuration `{}`{}", path.display(), named_by(*by_variable))]
    Read {
        /// The file.
        path: PathBuf,
        /// Whether [`VARIABLE`] named the file, and not the command line or a default.
        by_variable: bool,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The value of a `REGISTRY_*` variable is not UTF-8. The error does not quote the value, which may be a secret.
    #[error("variable {variable}: its text is not UTF-8; allowed: UTF-8")]
    Variable {
        /// Its name, with replacement characters.
        variable: String,
    },
    /// The text of the configuration has errors.
    #[error("{} errors in {place}", errors.len())]
    Invalid {
        /// The file, or a name for the built-in configuration.
        place: String,
        /// The errors. Each is one line.
        errors: Vec<registry_config::Error>,
    },
    /// The configuration needs a feature that this binary was built without.
    #[error("{missing}")]
    NotBuilt {
        /// The file and line, or the variable.
        place: String,
        /// The missing feature.
        missing: NotBuilt,
    },
}

impl Error {
    /// Prints one line for each error. All of them are the caller's to correct.
    pub(super) fn print(&self, output: &Output) {
        match self {
            Self::Read { .. } | Self::Variable { .. } => output.error("", self),
            Self::Invalid { place, errors } => errors.iter().for_each(|error| output.error(place, error)),
            Self::NotBuilt { place, missing } => {
                output.error(place, missing);
                output.hint(&missing.hint());
            }
        }
    }
}

/// A configuration and its source.
#[derive(Debug)]
pub(super) struct FoundConfig {
    pub(super) loaded: Loaded,
    /// The file, or a name for the built-in configuration.
    pub(super) place: String,
}

impl FoundConfig {
    /// The file and line, or the variable, that the value of a key comes from.
    pub(super) fn place_of(&self, key: &str) -> String {
        match self.loaded.tree.origin(key) {
            Origin::Line(line) => format!("{} (line {line})", self.place),
            Origin::Variable(name) => format!("{} (variable {name})", self.place),
            Origin::Program => self.place.clone(),
        }
    }
}

/// Whether a path exists. A dangling link exists, and so does a file in a folder that this process must not search: both
/// lead to an error rather than to the next default.
fn is_there(path: &Path) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    match std::fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), NotFound | NotADirectory),
    }
}

/// Reads the first of these and applies the `REGISTRY_*` variables to it: the named file, the file of
/// `REGISTRY_CONFIGURATION_PATH`, a default file that exists, the built-in configuration.
pub(super) fn find(named: Option<PathBuf>) -> Result<FoundConfig, Error> {
    let variable = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
    let by_variable = named.is_none() && variable.is_some();
    let path = named
        .or_else(|| variable.map(PathBuf::from))
        .or_else(|| DEFAULTS.iter().map(PathBuf::from).find(|path| is_there(path)));
    let (content, place) = match path {
        Some(path) => {
            let place = path.display().to_string();
            (
                text::read(&path).map_err(|source| Error::Read {
                    path,
                    by_variable,
                    source,
                })?,
                place,
            )
        }
        None => {
            let folder = local_folder(std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME"));
            (built_in(&folder), "the built-in configuration".to_owned())
        }
    };
    found(&content, variables()?, place)
}

/// The environment. A `REGISTRY_*` variable that is not UTF-8 is an error: ignoring it could open the registry.
fn variables() -> Result<Vec<(String, String)>, Error> {
    let mut all = Vec::new();
    for (name, value) in std::env::vars_os() {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => all.push((name, value)),
            (name, _) => {
                let name = name.unwrap_or_else(|name| name.to_string_lossy().into_owned());
                if name.to_ascii_uppercase().starts_with("REGISTRY_") {
                    return Err(Error::Variable { variable: name });
                }
            }
        }
    }
    Ok(all)
}

/// Reads a file without the `REGISTRY_*` variables. Commands with two configurations use it: variables would make both of
/// them the same.
pub(super) fn read_file(path: &Path) -> Result<FoundConfig, Error> {
    let content = text::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        by_variable: false,
        source,
    })?;
    found(&content, [], path.display().to_string())
}

fn found(
    text: &str,
    variables: impl IntoIterator<Item = (String, String)>,
    place: String,
) -> Result<FoundConfig, Error> {
    let loaded = load(text, variables).map_err(|errors| Error::Invalid {
        place: place.clone(),
        errors,
    })?;
    let found = FoundConfig { loaded, place };
    match features::missing(&found.loaded.config) {
        Some(missing) => Err(Error::NotBuilt {
            place: found.place_of(missing.key),
            missing,
        }),
        None => Ok(found),
    }
}

/// The configuration of a server without any configuration file: a registry of this user, for this machine only.
fn built_in(folder: &Path) -> String {
    let mut tree = registry_config::Config::default().to_tree();
    tree.set("storage.filesystem.rootdirectory", &folder.to_string_lossy());
    tree.set("http.addr", "127.0.0.1:5000");
    tree.to_yaml()
}

/// The folder for a user's data (XDG base directory specification), or the current folder if the user has no home.
fn local_folder(data: Option<OsString>, home: Option<OsString>) -> PathBuf {
    // The specification wants relative paths to be ignored.
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
    fn a_configuration_that_cannot_be_read_is_there_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink("nowhere", path("dangling")).unwrap();
        std::os::unix::fs::symlink("loop", path("loop")).unwrap();
        assert!(is_there(&path("dangling")));
        // A folder that cannot be searched, like one of another user.
        assert!(is_there(&path("loop/config.yml")));
        assert!(!is_there(&path("none")) && !is_there(&path("none/config.yml")));
    }

    #[test]
    fn the_built_in_configuration_is_a_valid_one_on_this_machine_only() {
        let config = load(&built_in(Path::new("/data/it's: here")), []).unwrap().config;
        assert_eq!(config.http.addr.as_deref(), Some("127.0.0.1:5000"));
        assert_eq!(config.storage.filesystem.unwrap().root(), "/data/it's: here");
    }
}
