//! The objects of a Registry as YAML, for people to look at.
//!
//! Guarantees: nothing of a Secret is in the text. What is random stands as a word in angle brackets, so that the same
//! Registry gives the same text. Start at [`documents`].

use kube::Resource;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::children::{Children, Desired, Want, for_each_child};
use crate::issue::trust::PUBLISHED_ANNOTATION;

/// A YAML document for each object that is wanted, in the order in which they are applied.
///
/// # Errors
/// No error on a build that passes its tests.
pub fn documents(
    children: &Children<Desired>,
    optional: &[DynamicObject],
) -> Result<String, serde_saphyr::ser::Error> {
    macro_rules! objects {
        ($($(#[$doc:meta])* $field:ident: $kind:ty, $lifetime:ident, $name:ident;)*) => {
            [$(children.$field.object().map(|object| json!(object)),)*]
        };
    }
    let children_objects = for_each_child!(objects);
    let objects = children_objects.into_iter().flatten();
    let objects = objects.chain(optional.iter().map(|object| json!(object)));
    let documents = objects.map(|object| serde_saphyr::to_string(&masked(object)));
    let text = documents.collect::<Result<Vec<_>, _>>()?.join("---\n");
    // The hash in these names is one of a content with random parts.
    let hashed = [name(&children.config), name(&children.inputs)];
    let hashed = hashed.into_iter().flatten();
    Ok(hashed.fold(text, |text, name| match name.rsplit_once('-') {
        Some((stem, _)) => text.replace(&name, &format!("{stem}-<hash>")),
        None => text,
    }))
}

fn name<K: Resource>(want: &Want<K>) -> Option<String> {
    want.object().map(kube::ResourceExt::name_any)
}

/// The object without what is secret or random.
fn masked(mut object: Value) -> Value {
    let is_secret = object["kind"] == "Secret";
    let publishes_cas = object["metadata"]["annotations"]
        .get(PUBLISHED_ANNOTATION)
        .is_some();
    let (data, annotation) = match (is_secret, publishes_cas) {
        (true, _) => ("<secret>", "<fingerprint>"),
        (false, true) => ("<certificates>", "<fingerprints>"),
        (false, false) => return object,
    };
    for (part, mask) in [("/data", data), ("/metadata/annotations", annotation)] {
        let members = object.pointer_mut(part).and_then(Value::as_object_mut);
        for value in members.into_iter().flat_map(|members| members.values_mut()) {
            *value = json!(mask);
        }
    }
    object
}
