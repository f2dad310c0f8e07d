//! `Warning` headers (OCI distribution 1.1, "Warnings"). Clients show them to people after a push that succeeded.

use crate::registry::{MissingReference, Notice};

/// The most bytes of all warnings of a response together (OCI distribution 1.1, "Warnings").
const TOTAL_MAX: usize = 4096;

/// The bytes that are kept free for the warning that there are more.
const LAST_MAX: usize = 64;

/// The values of the headers, the most important first. When they would become too long, the last one counts the rest.
pub(super) fn of(notices: &[Notice]) -> Vec<String> {
    let mut values = Vec::new();
    let mut total = 0;
    for (index, notice) in notices.iter().enumerate() {
        let value = quoted(&text_of(notice));
        if total + value.len() > TOTAL_MAX - LAST_MAX {
            values.push(quoted(&format!(
                "and {} more of this kind",
                notices.len() - index
            )));
            break;
        }
        total += value.len();
        values.push(value);
    }
    values
}

fn text_of(notice: &Notice) -> String {
    match notice {
        Notice::Missing(MissingReference::Blob(digest)) => {
            format!("blob {digest} is not in this repository")
        }
        Notice::Missing(MissingReference::Manifest(digest)) => {
            format!("manifest {digest} is not in this repository")
        }
        Notice::Nondistributable => {
            "layers that lie elsewhere are deprecated by the image specification".to_owned()
        }
    }
}

/// `299 - "<text>"`. No text above has a character that needs an escape.
fn quoted(text: &str) -> String {
    format!("299 - \"{text}\"")
}

#[cfg(test)]
mod tests {
    use registry_oci::Digest;

    use super::*;

    #[test]
    fn a_warning_names_what_is_missing() {
        let digest = Digest::sha256(b"");
        assert_eq!(
            of(&[
                Notice::Missing(MissingReference::Blob(digest)),
                Notice::Nondistributable
            ]),
            [
                "299 - \"blob sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 is not in this \
                 repository\"",
                "299 - \"layers that lie elsewhere are deprecated by the image specification\"",
            ]
        );
        assert!(of(&[]).is_empty());
    }

    #[test]
    fn all_warnings_together_stay_below_the_specifications_limit() {
        let missing =
            |seed: u32| Notice::Missing(MissingReference::Manifest(Digest::sha256(&seed.to_le_bytes())));
        let values = of(&(0..1000).map(missing).collect::<Vec<_>>());
        let total: usize = values.iter().map(String::len).sum();
        assert!(total <= TOTAL_MAX, "{total}");
        assert_eq!(values.last().unwrap(), "299 - \"and 965 more of this kind\"");
    }
}
