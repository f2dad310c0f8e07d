//! Limits that follow from a schema's formats: of integers, and of times.
//!
//! Guarantees: an integer or a time that the schema accepts fits the Rust type. The API server itself checks neither
//! `int32` nor `int64`. Must not: weaken a limit that a field has.
//! Start at [`complete`].

use serde_json::{Map, Value, json};

/// The largest integer that every JSON parser keeps exactly: the API server stores larger ones as floating point.
const INTEGER_MAX: i64 = 9_007_199_254_740_991;
/// A time as Kubernetes writes it, until the year 9998. The format `date-time` alone also accepts offsets of 99 hours.
const TIME: &str = "^([0-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?Z$";

/// Adds the limits that `schema` and everything in it lack.
pub(super) fn complete(schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    match members.get("type").and_then(Value::as_str) {
        Some("integer") => {
            let (least, most) = match members.get("format").and_then(Value::as_str) {
                Some("int32") => (i64::from(i32::MIN), i64::from(i32::MAX)),
                _ => (-INTEGER_MAX, INTEGER_MAX),
            };
            members.entry("minimum").or_insert(json!(least));
            members.entry("maximum").or_insert(json!(most));
        }
        Some("string") if members.get("format").and_then(Value::as_str) == Some("date-time") => {
            members.entry("pattern").or_insert(json!(TIME));
        }
        _ => {}
    }
    each_inner(members, complete);
}

/// Calls `with` for the schemas of the items, the values and the properties.
fn each_inner(members: &mut Map<String, Value>, with: fn(&mut Value)) {
    for key in ["items", "additionalProperties"] {
        members.get_mut(key).into_iter().for_each(with);
    }
    let properties = members.get_mut("properties").and_then(Value::as_object_mut);
    properties
        .into_iter()
        .flat_map(|properties| properties.values_mut())
        .for_each(with);
}
