//! Whether the live objects are what a spec asks for, without a write. Start at [`is_applied`].

use kube::ResourceExt as _;
use kube::api::DynamicObject;

use super::compare::satisfies;
use super::optional;
use super::write::{as_json, intent};
use crate::children::{ChildObject, Children, Desired, Found, Want, for_each_child};
use crate::optional::OptionalKind;
use crate::ownership::Lifetime;
use crate::read::Facts;

/// Whether applying these objects would change nothing.
pub fn is_applied(
    desired: &Children<Desired>,
    wanted: &[(OptionalKind, DynamicObject)],
    facts: &Facts,
) -> bool {
    macro_rules! all {
        ($($(#[$doc:meta])* $field:ident: $kind:ty, $lifetime:ident, $name:ident;)*) => {
            true $(&& is_child_applied(Lifetime::$lifetime, &desired.$field, &facts.existing.$field))*
        };
    }
    for_each_child!(all) && optional::is_applied(wanted, &facts.optional)
}

fn is_child_applied<K: ChildObject>(lifetime: Lifetime, want: &Want<K>, found: &Found<K>) -> bool {
    let (wanted, found) = match (want, found) {
        (Want::Absent, Found::Absent) => return true,
        // A wrong part of the spec was never applied.
        (Want::Unchanged | Want::Absent, _) | (_, Found::Absent | Found::Foreign | Found::Unreadable) => {
            return false;
        }
        (Want::IfMissing(_), Found::Ours(_)) => return true,
        (Want::Present(wanted), Found::Ours(found)) => (wanted, found),
    };
    let name = wanted.name_any();
    match lifetime {
        Lifetime::CreatedOnce => true,
        Lifetime::Immutable => found.name_any() == name,
        Lifetime::Renewed => match (as_json(wanted, &name), as_json(found, &name)) {
            (Ok(wanted), Ok(live)) => satisfies(&wanted["data"], &live["data"]),
            _ => false,
        },
        Lifetime::UntilRolledOut | Lifetime::UntilUnwanted | Lifetime::Lasting => {
            match (intent(wanted, &name), as_json(found, &name)) {
                (Ok(wanted), Ok(live)) => satisfies(&wanted, &live),
                _ => false,
            }
        }
    }
}
