//! Values of arguments, each parsed once.
//!
//! Guarantees: a name that was parsed is safe in a path of the API. Start at [`Namespaces`].

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::Context as _;

/// An address to listen on, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListenAddress(pub(super) Option<SocketAddr>);

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let address = text.parse();
        address.map(|address| Self(Some(address))).map_err(|_| {
            format!("`{text}` is no address with a port, such as [::]:8080 or 127.0.0.1:8080, nor `off`")
        })
    }
}

/// Names of namespaces; none for all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Namespaces(pub(super) BTreeSet<String>);

impl FromStr for Namespaces {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        Ok(Self(names.map(namespace_name).collect::<Result<_, _>>()?))
    }
}

impl Namespaces {
    /// From the arguments, or else from the variable for one namespace.
    pub(super) fn or_from_environment(named: Option<Self>) -> anyhow::Result<Self> {
        const VARIABLE: &str = "BERTH_NAMESPACE";
        match (named, std::env::var(VARIABLE)) {
            (Some(named), _) => Ok(named),
            (None, Ok(text)) => text.parse().map_err(anyhow::Error::msg).context(VARIABLE),
            (None, Err(_)) => Ok(Self::default()),
        }
    }
}

/// A name that is safe in a path of the API.
pub(super) fn object_name(name: &str) -> Result<String, String> {
    let letter_or_digit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let allowed = |c: char| letter_or_digit(c) || c == '-' || c == '.';
    match name.len() <= 253
        && name.chars().all(allowed)
        && name.starts_with(letter_or_digit)
        && name.ends_with(letter_or_digit)
    {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "`{name}` is no name: up to 253 lower-case letters, digits, `-` and `.`, with a letter or digit at both ends"
        )),
    }
}

pub(super) fn namespace_name(name: &str) -> Result<String, String> {
    match object_name(name) {
        Ok(name) if name.len() <= 63 && !name.contains('.') => Ok(name),
        _ => Err(format!(
            "`{name}` is no namespace: up to 63 lower-case letters, digits and `-`, with a letter or digit at both ends"
        )),
    }
}
