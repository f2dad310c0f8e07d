//! Whether a live object has everything that is asked for.
//!
//! The API server fills in defaults and other writers add fields of their own, so the wanted object must be a part of
//! the live one, not equal to it. Start at [`satisfies`].

use serde_json::{Map, Value};

use crate::quantity::millis;

/// Whether `live` has every field of `want`.
pub(super) fn satisfies(want: &Value, live: &Value) -> bool {
    first_difference(want, live, &mut Vec::new()).is_none()
}

/// Path of the first difference, without its value, which may be secret.
pub(super) fn difference(want: &Value, live: &Value) -> String {
    first_difference(want, live, &mut Vec::new()).unwrap_or_default()
}

fn first_difference(want: &Value, live: &Value, path: &mut Vec<String>) -> Option<String> {
    let here = |path: &[String]| Some(path.join("."));
    match (want, live) {
        // A null means that the field must be absent.
        (Value::Null, Value::Null) => None,
        (Value::Object(want), Value::Object(live)) => {
            for (key, wanted) in want {
                path.push(key.clone());
                match live.get(key) {
                    Some(live) => {
                        if let Some(found) = first_difference(wanted, live, path) {
                            return Some(found);
                        }
                    }
                    // The API server omits zero values.
                    None if is_zero(wanted) => {}
                    None => return here(path),
                }
                path.pop();
            }
            None
        }
        (Value::Array(want), Value::Array(live)) => lists(want, live, path),
        (Value::String(want), Value::String(live)) => {
            let same =
                want == live || is_quantity(path) && millis(want).is_some_and(|w| millis(live) == Some(w));
            if same { None } else { here(path) }
        }
        (want, live) if want == live => None,
        // A quantity may have been written as a number.
        (Value::Number(want), Value::String(live)) if is_quantity(path) && *live == want.to_string() => None,
        _ => here(path),
    }
}

/// Compares lists whose items have a key item by item, in any order and with further items allowed; other lists as a
/// whole.
fn lists(want: &[Value], live: &[Value], path: &mut Vec<String>) -> Option<String> {
    if let Some(key) = key_of(want) {
        for item in want {
            path.push(format!("[{}]", item[key].as_str().unwrap_or_default()));
            let Some(live) = live.iter().find(|live| live.get(key) == item.get(key)) else {
                return Some(path.join("."));
            };
            if let Some(found) = first_difference(item, live, path) {
                return Some(found);
            }
            path.pop();
        }
        return None;
    }
    if want.len() != live.len() {
        return Some(path.join("."));
    }
    for (at, (want, live)) in want.iter().zip(live).enumerate() {
        path.push(format!("[{at}]"));
        if let Some(found) = first_difference(want, live, path) {
            return Some(found);
        }
        path.pop();
    }
    None
}

/// The member that identifies an item: `uid` of owners, `mountPath` of mounts, otherwise `name`.
fn key_of(list: &[Value]) -> Option<&'static str> {
    let objects: Option<Vec<&Map<String, Value>>> = list.iter().map(Value::as_object).collect();
    let objects = objects.filter(|objects| !objects.is_empty())?;
    ["uid", "mountPath", "name"]
        .into_iter()
        .find(|key| objects.iter().all(|object| object.contains_key(*key)))
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(is_zero),
    }
}

/// Whether the value is a quantity, which the API server may write in another form.
fn is_quantity(path: &[String]) -> bool {
    path.iter()
        .any(|key| key == "limits" || key == "requests" || key == "sizeLimit")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(want: Value, live: Value, expected: Option<&str>) {
        let got = first_difference(&want, &live, &mut Vec::new());
        assert_eq!(got.as_deref(), expected, "\nwant: {want}\nlive: {live}");
    }

    #[test]
    fn what_the_server_or_others_add_is_no_difference() {
        check(json!({"a": 1}), json!({"a": 1, "b": 2}), None);
        check(
            json!({"c": [{"name": "x"}]}),
            json!({"c": [{"name": "y"}, {"name": "x", "d": 1}]}),
            None,
        );
        check(
            json!({"f": false, "g": {}, "h": [], "i": 0, "j": ""}),
            json!({}),
            None,
        );
    }

    #[test]
    fn what_was_changed_is_found_by_its_path() {
        check(json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), Some("a.b"));
        check(json!({"a": {"b": 1}}), json!({"a": {}}), Some("a.b"));
        check(json!({"args": ["x"]}), json!({"args": ["x", "y"]}), Some("args"));
        check(
            json!({"c": [{"name": "x", "d": 1}]}),
            json!({"c": [{"name": "x", "d": 2}]}),
            Some("c.[x].d"),
        );
        check(json!({"c": [{"name": "x"}]}), json!({"c": []}), Some("c.[x]"));
    }

    #[test]
    fn what_somebody_adds_to_a_content_is_no_difference_and_what_is_changed_is() {
        check(
            json!({"data": {"a": "1"}}),
            json!({"data": {"a": "1", "b": "2"}}),
            None,
        );
        check(
            json!({"data": {"a": "1"}}),
            json!({"data": {"a": "2"}}),
            Some("data.a"),
        );
        check(json!({"data": {"a": "1"}}), json!({"data": {}}), Some("data.a"));
    }

    #[test]
    fn quantities_are_compared_by_what_they_mean_and_only_where_they_stand() {
        check(
            json!({"requests": {"cpu": "0.5"}}),
            json!({"requests": {"cpu": "500m"}}),
            None,
        );
        check(
            json!({"requests": {"cpu": "0.5"}}),
            json!({"requests": {"cpu": "400m"}}),
            Some("requests.cpu"),
        );
        check(json!({"name": "1024Mi"}), json!({"name": "1Gi"}), Some("name"));
    }

    #[test]
    fn an_explicit_null_asks_for_absence() {
        check(json!({"a": null}), json!({}), None);
        check(json!({"a": null}), json!({"a": {"b": 1}}), Some("a"));
    }
}
