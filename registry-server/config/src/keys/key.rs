//! A row of the table of keys.

/// A key of `config.yml`.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// With dots: `http.tls.clientcas[]`, `log.fields.*`.
    pub path: &'static str,
    /// The release line of distribution that has the key.
    pub upstream: Upstream,
    /// The shape of its value.
    pub shape: Shape,
    /// Whether the server supports it.
    pub support: Support,
    /// A sentence: its effect, or why it has none, or why it is refused.
    pub note: &'static str,
}

/// The release lines of distribution that have a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    /// 2.8 and 3.1.
    Both,
    /// 2.8 only.
    V2,
    /// 3.1 only.
    V3,
    /// Neither: a key of our own.
    Berth,
}

/// Whether the server supports a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// The key has its effect.
    Implemented,
    /// The key is accepted and changes nothing; one warning says why.
    Ignored,
    /// The start is refused: going on would lose data, open access or change who is served.
    Refused,
    /// As `Refused`, until the support is built.
    Planned,
}

/// The shape of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A section of keys, or nothing.
    Section,
    /// A text that must not be shown.
    Secret,
    /// Any text.
    Text,
    /// One of these, whatever the case.
    OneOf(&'static [&'static str]),
    /// `true`, `false`, `yes`, `no`, `on`, `off`.
    Bool,
    /// A whole number of at least this.
    Integer(i64),
    /// A duration in Go's notation.
    Duration,
    /// As a duration; `-1` and `-2` are Redis's words for no limit.
    Timeout,
    /// A network, `10.0.0.0/8`, or one address.
    Network,
    /// A regular expression.
    Pattern,
    /// Anything: the value is not checked.
    Any,
}
