//! `config check`: the configuration in force, for people to read.

use std::path::PathBuf;

use super::output::Output;
use super::{config_source, exit};

/// Prints the configuration in force as YAML, or every error of it.
pub(super) fn run(named: Option<PathBuf>, output: &Output) -> u8 {
    match config_source::find(named) {
        Ok(found) => {
            for warning in &found.loaded.warnings {
                output.warning(&found.place, warning);
            }
            output.data(&format!(
                "# {}\n{}",
                found.place,
                found.loaded.tree.masked().to_yaml()
            ));
            exit::DONE
        }
        Err(error) => {
            error.print(output);
            exit::CALLER
        }
    }
}
