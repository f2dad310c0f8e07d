//! Whether the volume of a claim is being grown. Start at [`resize`].

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use crate::findings::Resize;
use crate::quantity::{millis, requested_storage};

/// The longest message that is reported, in characters.
const MESSAGE_MAX: usize = 300;

/// The growth of a bound volume, while it is smaller than its claim asks for.
pub(super) fn resize(claim: &PersistentVolumeClaim) -> Option<Resize> {
    let status = claim.status.as_ref()?;
    let from = &status.capacity.as_ref()?.get("storage")?.0;
    let to = requested_storage(claim)?;
    if status.phase.as_deref() != Some("Bound") || millis(to)? <= millis(from)? {
        return None;
    }
    let conditions = status.conditions.iter().flatten();
    let mut holding = conditions.filter(|condition| condition.status == "True");
    let at_mount = holding.clone().any(|c| c.type_ == "FileSystemResizePending");
    let failed = holding.find(|c| c.type_ == "ControllerResizeError" || c.type_ == "NodeResizeError");
    let problem = failed.map(|failed| {
        let message = failed.message.as_deref().unwrap_or(&failed.type_);
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        message.chars().take(MESSAGE_MAX).collect()
    });
    Some(Resize {
        claim: claim.metadata.name.clone()?,
        from: from.clone(),
        to: to.to_owned(),
        at_mount,
        problem,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(asked: &str, conditions: Value) -> Option<Resize> {
        let claim = json!({
            "metadata": { "name": "hold" },
            "spec": { "resources": { "requests": { "storage": asked } } },
            "status": { "phase": "Bound", "capacity": { "storage": "5Gi" }, "conditions": conditions },
        });
        resize(&serde_json::from_value(claim).unwrap())
    }

    #[test]
    fn a_volume_that_is_smaller_than_asked_for_is_being_grown() {
        assert_eq!(of("5120Mi", json!([])), None);
        let grown = of("10Gi", json!([])).unwrap();
        assert_eq!((grown.from.as_str(), grown.to.as_str()), ("5Gi", "10Gi"));
        assert!(!grown.at_mount && grown.problem.is_none());
    }

    #[test]
    fn what_a_growth_waits_for_and_why_it_fails_is_seen() {
        let pending = json!([{ "type": "FileSystemResizePending", "status": "True" }]);
        assert!(of("10Gi", pending).unwrap().at_mount);
        let failed = json!([{ "type": "ControllerResizeError", "status": "True", "message": "no  quota" }]);
        assert_eq!(of("10Gi", failed).unwrap().problem.as_deref(), Some("no quota"));
        let over = json!([{ "type": "NodeResizeError", "status": "False", "message": "no quota" }]);
        assert_eq!(of("10Gi", over).unwrap().problem, None);
    }
}
