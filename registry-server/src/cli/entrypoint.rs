//! The decisions of `/entrypoint.sh` in distribution's images, made without a shell.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;

use super::output::Output;

/// The program to run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The registry, with these arguments.
    Registry(Vec<OsString>),
    /// Another program of the image.
    Program(OsString, Vec<OsString>),
}

/// The commands of the registry.
const COMMANDS: [&str; 5] = ["serve", "garbage-collect", "storage", "config", "help"];

/// Decides what to run. A configuration file, or no argument, is served. The registry's commands and flags go to the
/// registry. Any other word is a program, such as `htpasswd`.
pub(super) fn plan(arguments: Vec<OsString>, is_file: &dyn Fn(&Path) -> bool) -> Plan {
    let Some(first) = arguments.first() else {
        return Plan::Registry(vec!["serve".into()]);
    };
    let name = first.to_string_lossy();
    if COMMANDS.contains(&name.as_ref()) || name.starts_with('-') {
        return Plan::Registry(arguments);
    }
    // A name that looks like a configuration is served even if the file is missing: the error then names the file.
    if name.ends_with(".yml") || name.ends_with(".yaml") || is_file(Path::new(first)) && !is_program(first) {
        return Plan::Registry(std::iter::once("serve".into()).chain(arguments).collect());
    }
    let program = first.clone();
    Plan::Program(program, arguments.into_iter().skip(1).collect())
}

/// Whether a path is an executable file. Distribution would serve `/bin/htpasswd` as a configuration.
fn is_program(path: &OsString) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

/// Replaces this process by the program. Returns only if that fails, with the exit code of a shell.
pub(super) fn exec(program: &OsString, arguments: &[OsString]) -> u8 {
    let source = std::process::Command::new(program).args(arguments).exec();
    let code = if source.kind() == std::io::ErrorKind::NotFound {
        127
    } else {
        126
    };
    Output.error(&format!("cannot run `{}`", program.to_string_lossy()), &source);
    if code == 127 {
        Output.hint("the image holds `registry` and `htpasswd`; a configuration file's name ends in .yml");
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(arguments: &[&str], registry: bool, expected: &[&str]) {
        let plan = plan(arguments.iter().map(OsString::from).collect(), &|path| {
            path == Path::new("/etc/mine")
        });
        let expected: Vec<OsString> = expected.iter().map(OsString::from).collect();
        let expected = match (registry, expected.split_first()) {
            (false, Some((program, arguments))) => Plan::Program(program.clone(), arguments.to_vec()),
            _ => Plan::Registry(expected),
        };
        assert_eq!(plan, expected, "{arguments:?}");
    }

    #[test]
    fn a_configuration_is_served_and_other_words_are_programs() {
        check(&[], true, &["serve"]);
        check(
            &["/etc/docker/registry/config.yml"],
            true,
            &["serve", "/etc/docker/registry/config.yml"],
        );
        check(&["missing.yaml"], true, &["serve", "missing.yaml"]);
        check(&["/etc/mine"], true, &["serve", "/etc/mine"]);
        check(&["serve", "/c.yml"], true, &["serve", "/c.yml"]);
        check(
            &["garbage-collect", "-m", "/c.yml"],
            true,
            &["garbage-collect", "-m", "/c.yml"],
        );
        check(&["storage", "check"], true, &["storage", "check"]);
        check(&["--version"], true, &["--version"]);
        check(&["help"], true, &["help"]);
        check(
            &["htpasswd", "-Bbn", "u", "p"],
            false,
            &["htpasswd", "-Bbn", "u", "p"],
        );
        check(&["sh", "-c", "x"], false, &["sh", "-c", "x"]);
    }
}
