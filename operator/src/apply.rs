//! Fifth step: the objects in the API server become those that were built.
//!
//! Guarantees: compares first, so a reconcile that changes nothing writes nothing; a child that cannot be built again
//! is created once and never overwritten; a field that the operator sets is put back when somebody changes it, and
//! every other field is left alone; every write is about the object that was read, by its UID; an object of somebody
//! else is never touched. Must not: decide what an object should be.
//! Start at [`children`].

mod compare;
mod error;
mod write;

use kube::Client;

use crate::children::{Children, Desired, Existing, Live, Want, for_each_child};
use crate::findings::Rollout;
use crate::names::Names;
use crate::ownership::Lifetime;
use crate::subject::Subject;
pub use error::Error;
pub use write::FIELD_MANAGER;
use write::Writer;

/// The result of applying.
#[derive(Debug)]
pub struct Applied {
    /// The children as the API server has them now.
    pub children: Children<Live>,
    /// Objects of somebody else that are in the way, and the write that failed.
    pub problems: Vec<Error>,
}

/// Applies and deletes children, in the order of the table. After the first write that fails nothing more is written;
/// the next reconcile goes on from there.
pub async fn children(
    client: &Client,
    subject: &Subject,
    desired: Children<Desired>,
    existing: &Children<Existing>,
) -> Applied {
    let foreign = desired.foreign(existing, &Names::of(&subject.name));
    let mut problems: Vec<Error> = foreign.into_iter().map(Error::Foreign).collect();
    let desired = match problems.is_empty() {
        true => desired,
        // An Ingress would lead clients to somebody else's Service or show somebody else's certificate.
        false => Children {
            ingress: Want::Unchanged,
            ..desired.keep_deployment()
        },
    };
    let mut live = existing.live();
    let writer = Writer { client, subject };
    if let Err(error) = write_all(&writer, desired, existing, &mut live).await {
        problems.push(error);
    }
    Applied {
        children: live,
        problems,
    }
}

async fn write_all(
    writer: &Writer<'_>,
    desired: Children<Desired>,
    existing: &Children<Existing>,
    live: &mut Children<Live>,
) -> Result<(), Error> {
    macro_rules! apply_all {
        ($($(#[$doc:meta])* $field:ident: $kind:ty, $lifetime:ident, $name:ident;)*) => {
            $(let $field = matches!(desired.$field, Want::Absent);
            if $field {
                live.$field = None;
            }
            if let Some(applied) = writer.apply(Lifetime::$lifetime, desired.$field, &existing.$field).await? {
                live.$field = Some(applied);
            })*
            let rolled_out = live.deployment.as_ref().map(Rollout::of) == Some(Rollout::Complete);
            $(if $field {
                writer.prune(Lifetime::$lifetime, rolled_out, existing.$field.ours()).await?;
            })*
        };
    }
    for_each_child!(apply_all);
    Ok(())
}
