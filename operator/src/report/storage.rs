//! The state of the storage: its figures in the status, and the condition `StorageHealthy` while the servers can use it.
//!
//! Guarantees: the used share is told in steps, and a share near a step does not change the status again and again.
//! Start at [`status`] and [`room`].

use operator_api::StorageStatus;

use super::outcome::Outcome;
use super::reason as why;
use crate::findings::{Findings, Resize};
use crate::validate::backend::Backend;

/// The step of the used share in the status, in percent.
const STEP: i32 = 5;
/// How far below a step the used share must be for the lower step, in percent.
const MARGIN: i32 = 2;
/// The used share from which on the storage counts as nearly full, in percent.
const NEARLY_FULL: i32 = 90;

/// The figures of the storage in use.
pub(super) fn status(outcome: &Outcome<'_>, known: Option<&StorageStatus>) -> Option<StorageStatus> {
    let storage = outcome.registry.storage.as_ref()?;
    let findings = outcome.findings;
    let known = known.filter(|known| known.claim_uid == findings.claim_uid);
    let known = known.and_then(|known| known.used_percent);
    Some(StorageStatus {
        backend: Some(storage.kind().to_owned()),
        claim_name: storage.claim_name().map(str::to_owned),
        claim_uid: findings.claim_uid.clone(),
        location: storage.location().map(str::to_owned),
        capacity: findings.capacity.clone(),
        used_percent: match storage.location() {
            Some(_) => None,
            None => findings.used_percent.map(|used| step(used, known)).or(known),
        },
    })
}

/// The step that is told for a used share. The known one stays while the share is near it.
fn step(used: i32, known: Option<i32>) -> i32 {
    let stays = known.filter(|known| used >= known - MARGIN && used < known + STEP);
    stays.unwrap_or(used / STEP * STEP)
}

/// Whether there is room, the reason, and the message, for storage that the servers can use.
pub(super) fn room(
    storage: Option<&StorageStatus>,
    backend: Option<&Backend>,
    findings: &Findings,
) -> (bool, &'static str, String) {
    let used = storage.and_then(|storage| storage.used_percent).unwrap_or(0);
    let growth = findings.resize.as_ref().map(growth);
    if used >= NEARLY_FULL {
        let way_out = match (&findings.resize, backend.and_then(Backend::claim_name)) {
            (Some(_), _) => "",
            (None, Some(_)) => "; enlarge the volume, or delete images and collect the garbage",
            (None, None) => "; delete images and collect the garbage",
        };
        let growth = growth
            .map(|(_, sentence)| format!(". {sentence}"))
            .unwrap_or_default();
        let message = format!("The file system with the content is {used} % full{way_out}{growth}");
        return (false, why::NEARLY_FULL, message);
    }
    match growth {
        Some((reason, sentence)) => (true, reason, sentence),
        None => (true, why::HEALTHY, String::new()),
    }
}

/// The reason and the sentence about a volume that is being grown.
fn growth(resize: &Resize) -> (&'static str, String) {
    let Resize {
        claim,
        from,
        to,
        at_mount,
        problem,
    } = resize;
    let start = format!("The volume of PersistentVolumeClaim `{claim}`");
    match (problem, at_mount) {
        (Some(problem), _) => (
            why::RESIZE_FAILED,
            format!("{start} does not grow from {from} to {to}: {problem}"),
        ),
        (None, true) => (
            why::RESIZE_PENDING,
            format!("{start} grows from {from} to {to} as soon as a Pod mounts it anew"),
        ),
        (None, false) => (
            why::RESIZE_PENDING,
            format!("{start} is being grown from {from} to {to}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_used_share_near_a_step_does_not_change_what_is_told() {
        assert_eq!(step(89, None), 85);
        let mut told = 85;
        for (used, expected) in [
            (90, 90),
            (89, 90),
            (88, 90),
            (94, 90),
            (87, 85),
            (89, 85),
            (90, 90),
            (12, 10),
            (100, 100),
        ] {
            told = step(used, Some(told));
            assert_eq!(told, expected, "at {used}");
        }
    }

    fn told(used: i32, resize: Option<Resize>) -> (bool, &'static str, String) {
        let storage = StorageStatus {
            used_percent: Some(used),
            ..Default::default()
        };
        let findings = Findings {
            resize,
            ..Default::default()
        };
        room(Some(&storage), None, &findings)
    }

    fn resize(problem: Option<&str>) -> Option<Resize> {
        Some(Resize {
            claim: "hold".to_owned(),
            from: "5Gi".to_owned(),
            to: "10Gi".to_owned(),
            at_mount: false,
            problem: problem.map(str::to_owned),
        })
    }

    #[test]
    fn storage_is_unhealthy_before_it_is_full() {
        assert_eq!(told(85, None), (true, "Healthy", String::new()));
        let (healthy, reason, message) = told(90, None);
        assert_eq!((healthy, reason), (false, "NearlyFull"));
        assert_eq!(
            message,
            "The file system with the content is 90 % full; delete images and collect the garbage"
        );
        let (_, _, message) = told(95, resize(None));
        assert!(
            message.ends_with(
                "% full. The volume of PersistentVolumeClaim `hold` is being grown from 5Gi to 10Gi"
            ),
            "{message}"
        );
    }

    #[test]
    fn a_volume_that_grows_and_one_that_does_not_are_told() {
        assert_eq!(
            told(10, resize(None)),
            (
                true,
                "ResizePending",
                "The volume of PersistentVolumeClaim `hold` is being grown from 5Gi to 10Gi".to_owned()
            )
        );
        let (_, reason, message) = told(10, resize(Some("no quota")));
        assert_eq!(reason, "ResizeFailed");
        assert!(
            message.ends_with("does not grow from 5Gi to 10Gi: no quota"),
            "{message}"
        );
    }
}
