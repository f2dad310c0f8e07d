//! Fields that somebody else added to an object of ours, and beside which the API server refuses our own.
//!
//! Server-side apply leaves the fields of other writers. An edited Service port stays beside ours under the same name, and
//! a `valueFrom` beside our `value`: the API server then refuses the object as a whole, so nothing of it would be put back.
//! Such fields are given to the operator's own entry in `managedFields`; the next apply does not ask for them, and the API
//! server removes them.
//!
//! Guarantees: only fields that the API server complains about change hands; what others added elsewhere stays theirs.
//! Must not: talk to the API server. Start at [`taken_over`].

use kube::core::Status;
use serde_json::{Map, Value};

use crate::ownership::FIELD_MANAGER;

/// Keys from the root of `fieldsV1` to a field.
type Path = Vec<String>;

/// The object's `managedFields` after the clashing fields have changed hands; `None` when there are none. `want` is what
/// was applied, and `refusal` the API server's answer.
pub(super) fn taken_over(want: &Value, live: &Value, refusal: &Status) -> Option<Value> {
    let mut managers = live["metadata"]["managedFields"].as_array()?.clone();
    let complaints: Vec<&str> = refusal
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .map(|cause| cause.field.as_str())
        .collect();
    let mut clashes = Vec::new();
    for manager in managers.iter().filter(|manager| !is_own(manager)) {
        added(&manager["fieldsV1"], want, live, &mut Vec::new(), &mut clashes);
    }
    clashes.retain(|clash| {
        let field = field_of(clash);
        complaints.iter().any(|complaint| is_about(complaint, &field))
    });
    if clashes.is_empty() {
        return None;
    }
    let mut moved = Vec::new();
    for manager in managers.iter_mut().filter(|manager| !is_own(manager)) {
        for path in &clashes {
            let fields = removed(&mut manager["fieldsV1"], path);
            moved.extend(fields.map(|fields| (path, fields)));
        }
    }
    let own = managers.iter_mut().find(|manager| is_own(manager))?;
    for (path, fields) in moved {
        insert(&mut own["fieldsV1"], path, fields);
    }
    managers.retain(|manager| is_own(manager) || !is_empty(&manager["fieldsV1"]));
    Some(Value::Array(managers))
}

/// Whether this is the entry of the operator's own applies.
fn is_own(manager: &Value) -> bool {
    manager["manager"] == FIELD_MANAGER
        && manager["operation"] == "Apply"
        && manager.get("subresource").is_none_or(Value::is_null)
}

/// Collects the fields of one manager's `tree` that stand in objects that `want` has, and that `want` does not have.
fn added(tree: &Value, want: &Value, live: &Value, path: &mut Path, all: &mut Vec<Path>) {
    for (key, inner) in tree.as_object().into_iter().flatten() {
        let Some((form, name)) = key.split_once(':') else {
            continue;
        };
        // Metadata has no fields that exclude each other, and a status is not ours.
        if path.is_empty() && matches!(name, "metadata" | "status") {
            continue;
        }
        path.push(key.clone());
        match form {
            "f" if want.is_object() => match want.get(name) {
                None | Some(Value::Null) => all.push(path.clone()),
                Some(wanted) => added(inner, wanted, &live[name], path, all),
            },
            "k" => {
                let keys: Map<String, Value> = serde_json::from_str(name).unwrap_or_default();
                if let Some(wanted) = item(want, &keys) {
                    let live = item(live, &keys).unwrap_or(&Value::Null);
                    added(inner, wanted, live, path, all);
                } else if item(live, &keys).is_some_and(|live| has_name_of(live, want)) {
                    all.push(path.clone());
                }
            }
            _ => {}
        }
        path.pop();
    }
}

/// The item of a list with these keys. A key that the item leaves out has its default.
fn item<'a>(list: &'a Value, keys: &Map<String, Value>) -> Option<&'a Value> {
    let mut items = list.as_array()?.iter();
    items.find(|item| {
        keys.iter()
            .all(|(key, value)| item.get(key).is_none_or(|has| has == value))
    })
}

/// Whether a list has an item with the name of this one.
fn has_name_of(item: &Value, list: &Value) -> bool {
    let name = item.get("name");
    let mut items = list.as_array().into_iter().flatten();
    name.is_some() && items.any(|item| item.get("name") == name)
}

/// The field as the API server writes it, without the numbers and keys of items.
fn field_of(path: &[String]) -> String {
    let members = path.iter().filter_map(|key| key.strip_prefix("f:"));
    members.collect::<Vec<_>>().join(".")
}

/// Whether a complaint about one field can come from another one: from one that holds it, or from one beside it, because
/// of two fields that exclude each other the API server names one. Of the large objects at the root, whose members have
/// nothing to do with each other, only the field itself counts.
fn is_about(complaint: &str, field: &str) -> bool {
    let mut complaint = without_items(complaint);
    let within = |outer: &str, inner: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if within(field, &complaint) {
        return true;
    }
    let parent = complaint.rfind('.').unwrap_or(0);
    complaint.truncate(parent);
    !matches!(complaint.as_str(), "" | "spec" | "spec.template.spec") && within(&complaint, field)
}

/// The path without `[…]`.
fn without_items(path: &str) -> String {
    let mut depth = 0_usize;
    path.chars()
        .filter(|c| {
            depth += usize::from(*c == '[');
            let outside = depth == 0;
            depth = depth.saturating_sub(usize::from(*c == ']'));
            outside
        })
        .collect()
}

/// Removes a field from a tree, and what is empty then: an empty member would stand for the field as a whole.
fn removed(tree: &mut Value, path: &[String]) -> Option<Value> {
    let (first, rest) = path.split_first()?;
    let members = tree.as_object_mut()?;
    if rest.is_empty() {
        return members.remove(first);
    }
    let fields = removed(members.get_mut(first)?, rest);
    if fields.is_some() && is_empty(&members[first]) {
        members.remove(first);
    }
    fields
}

fn is_empty(tree: &Value) -> bool {
    tree.as_object().is_none_or(Map::is_empty)
}

/// Puts a field into a tree.
fn insert(tree: &mut Value, path: &[String], fields: Value) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let mut at = tree;
    for key in parents {
        at = &mut at[key];
    }
    merge(&mut at[last], fields);
}

fn merge(into: &mut Value, fields: Value) {
    match (into, fields) {
        (Value::Object(into), Value::Object(fields)) => {
            for (key, inner) in fields {
                merge(into.entry(key).or_insert(Value::Null), inner);
            }
        }
        (into, fields) => *into = fields,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(fields: &[&str]) -> Status {
        let causes: Vec<Value> = fields
            .iter()
            .map(|field| json!({ "reason": "FieldValueInvalid", "field": field }))
            .collect();
        serde_json::from_value(json!({ "code": 422, "details": { "causes": causes } })).unwrap()
    }

    fn managed(ours: Value, theirs: Value) -> Value {
        json!([
            { "manager": "berth-operator", "operation": "Apply", "fieldsV1": ours },
            { "manager": "somebody", "operation": "Update", "fieldsV1": theirs },
        ])
    }

    #[test]
    fn an_item_with_our_name_and_another_key_changes_hands_and_one_with_another_name_does_not() {
        let want = json!({ "spec": { "ports": [{ "name": "registry", "port": 5000, "protocol": "TCP" }] } });
        let edited = r#"k:{"port":5001,"protocol":"TCP"}"#;
        let extra = r#"k:{"port":9000,"protocol":"TCP"}"#;
        let live = json!({
            "metadata": { "managedFields": managed(
                json!({ "f:spec": { "f:type": {} } }),
                json!({ "f:spec": { "f:ports": { edited: { ".": {}, "f:port": {} }, extra: { ".": {} } } } }),
            ) },
            "spec": { "ports": [
                { "name": "registry", "port": 5001, "protocol": "TCP" },
                { "name": "extra", "port": 9000, "protocol": "TCP" },
            ] },
        });
        assert_eq!(
            taken_over(&want, &live, &refusal(&["spec.ports[1].name"])),
            Some(managed(
                json!({ "f:spec": { "f:type": {}, "f:ports": { edited: { ".": {}, "f:port": {} } } } }),
                json!({ "f:spec": { "f:ports": { extra: { ".": {} } } } }),
            ))
        );
        for other in ["spec.selector.a", "spec.clusterIP"] {
            assert_eq!(taken_over(&want, &live, &refusal(&[other])), None, "{other}");
        }
    }

    #[test]
    fn a_member_that_excludes_ours_changes_hands_and_its_manager_has_nothing_left() {
        let want = json!({ "spec": { "strategy": { "type": "Recreate", "rollingUpdate": null } } });
        let strategy = json!({ "f:rollingUpdate": { "f:maxSurge": {} } });
        let live = json!({
            "metadata": { "managedFields": managed(
                json!({ "f:spec": { "f:strategy": { "f:type": {} } } }),
                json!({ "f:spec": { "f:strategy": strategy } }),
            ) },
            "spec": { "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1 } } },
        });
        let both = json!({ "f:type": {}, "f:rollingUpdate": { "f:maxSurge": {} } });
        assert_eq!(
            taken_over(&want, &live, &refusal(&["spec.strategy.rollingUpdate"])),
            Some(json!([{
                "manager": "berth-operator",
                "operation": "Apply",
                "fieldsV1": { "f:spec": { "f:strategy": both } },
            }]))
        );
    }

    #[test]
    fn the_replicas_that_an_autoscaler_sets_stay_its_own() {
        let want = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "registry", "env": [{ "name": "A", "value": "x" }] }] } } } });
        let container = r#"k:{"name":"registry"}"#;
        let variable = r#"k:{"name":"A"}"#;
        let tree = |inner: Value| json!({ "f:template": { "f:spec": { "f:containers": { container: { "f:env": { variable: inner } } } } } });
        let mut theirs = tree(json!({ "f:valueFrom": {} }));
        theirs["f:replicas"] = json!({});
        let live = json!({
            "metadata": { "managedFields": managed(
                json!({ "f:spec": tree(json!({ "f:value": {} })) }),
                json!({ "f:spec": theirs }),
            ) },
            "spec": { "replicas": 3, "template": { "spec": { "containers": [
                { "name": "registry", "env": [{ "name": "A", "valueFrom": {} }] },
            ] } } },
        });
        let complaint = "spec.template.spec.containers[0].env[0].valueFrom";
        assert_eq!(
            taken_over(&want, &live, &refusal(&[complaint])),
            Some(managed(
                json!({ "f:spec": tree(json!({ "f:value": {}, "f:valueFrom": {} })) }),
                json!({ "f:spec": { "f:replicas": {} } }),
            ))
        );
    }
}
