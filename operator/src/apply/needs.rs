//! Which children must have been written before another one: a write that fails holds up only these.
//!
//! Start at [`needs`] and [`Failures`].

use super::error::Error;

/// The children, by their fields in the table, on which a child depends.
pub(super) fn needs(child: &str) -> &'static [&'static str] {
    match child {
        // Clients, and the Ingress controller, must trust a CA before they are shown a certificate that it signed.
        "ca_bundle" | "ca_secret" | "upstream_ca" => &["ca_key"],
        "server_certificate" | "edge_certificate" => &["ca_key", "ca_bundle", "upstream_ca"],
        "live" => &["server_certificate"],
        "inputs" => &["http_secret"],
        // Pods that cannot start as they should are not started.
        "deployment" => &["live", "service_account", "config", "inputs", "claim"],
        // An Ingress without its Service or its certificate would show clients an error page.
        "ingress" => &["edge_certificate", "upstream_ca", "service"],
        _ => &[],
    }
}

/// The writes that failed, and what they hold up.
#[derive(Default)]
pub(super) struct Failures {
    pub(super) errors: Vec<Error>,
    held_up: Vec<&'static str>,
    /// Whether the API server did not answer, so that further requests would wait in vain.
    unanswered: bool,
}

impl Failures {
    /// Whether everything that the child depends on was written. If not, what depends on the child is held up too.
    pub(super) fn allow(&mut self, child: &'static str) -> bool {
        let allowed = !self.unanswered && !needs(child).iter().any(|need| self.held_up.contains(need));
        if !allowed {
            self.held_up.push(child);
        }
        allowed
    }

    /// Notes that the child could not be written.
    pub(super) fn add(&mut self, child: &'static str, error: Error) {
        self.held_up.push(child);
        self.add_harmless(error);
    }

    /// Notes that the child could not be read, which is told already.
    pub(super) fn hold_up(&mut self, child: &'static str) {
        self.held_up.push(child);
    }

    /// Notes a failure that holds up nothing.
    pub(super) fn add_harmless(&mut self, error: Error) {
        self.unanswered |= error.is_unanswered();
        self.errors.push(error);
    }

    /// Whether further writes can be tried.
    pub(super) fn may_go_on(&self) -> bool {
        !self.unanswered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::children::{ForeignObject, for_each_child};

    macro_rules! fields {
        ($($(#[$doc:meta])* $field:ident: $kind:ty, $lifetime:ident, $name:ident;)*) => {
            [$(stringify!($field)),*]
        };
    }

    #[test]
    fn a_child_depends_only_on_children_that_are_applied_before_it() {
        let order = for_each_child!(fields);
        for (at, child) in order.iter().enumerate() {
            for need in needs(child) {
                assert!(order[..at].contains(need), "`{child}` needs `{need}`");
            }
        }
    }

    #[test]
    fn a_failed_write_holds_up_what_depends_on_it_and_nothing_else() {
        let mut failures = Failures::default();
        let foreign = ForeignObject {
            kind: "Secret".to_owned(),
            name: "harbour-ca-key".to_owned(),
        };
        failures.add("ca_key", foreign.into());
        for (child, allowed) in [
            ("ca_bundle", false),
            ("server_certificate", false),
            ("live", false),
            ("service_account", true),
            ("service", true),
            ("deployment", false),
        ] {
            assert_eq!(failures.allow(child), allowed, "{child}");
        }
    }
}
