//! Lower limits of durations. A timer without one can keep a core busy, and an age of nearly nothing would remove uploads
//! that were just written.
//! Start at [`check`].

use std::time::Duration;

use crate::check::value_error;
use crate::model::{Health, UploadPurging};
use crate::tree::Tree;
use crate::{Config, Error, GoDuration};

/// The shortest timeout of a request or a connection.
const TIMEOUT_FLOOR: Duration = Duration::from_millis(1);

/// Finds every duration that is below its floor.
pub(crate) fn check(config: &Config, tree: &Tree, errors: &mut Vec<Error>) {
    let mut floor = |path: &str, span: Option<GoDuration>, zero: Zero, least: Duration| {
        let Some(span) = span else { return };
        let good = match span.positive() {
            Some(span) if span.is_zero() => zero != Zero::Refused,
            Some(span) => span >= least,
            None => zero == Zero::Unlimited,
        };
        if !good {
            let least = GoDuration::try_from(least).unwrap_or_default();
            let allowed = match zero {
                Zero::Default => format!("a duration of {least} or more, or 0 for the default"),
                Zero::Unlimited => {
                    format!("a duration of {least} or more, or less than nothing for the default")
                }
                Zero::Refused => format!("a duration of {least} or more"),
            };
            errors.push(value_error(tree, path, &span.to_string(), &allowed));
        }
    };
    let purging = &config.storage.maintenance.uploadpurging;
    let maintenance = "storage.maintenance.uploadpurging";
    floor(
        &format!("{maintenance}.age"),
        purging.age,
        Zero::Refused,
        UploadPurging::AGE_FLOOR,
    );
    floor(
        &format!("{maintenance}.interval"),
        purging.interval,
        Zero::Refused,
        UploadPurging::INTERVAL_FLOOR,
    );
    let health = &config.health;
    let mut look = |path: String, interval, timeout| {
        floor(
            &format!("{path}.interval"),
            interval,
            Zero::Default,
            Health::INTERVAL_FLOOR,
        );
        floor(&format!("{path}.timeout"), timeout, Zero::Default, TIMEOUT_FLOOR);
    };
    look(
        "health.storagedriver".to_owned(),
        health.storagedriver.interval,
        None,
    );
    for (index, check) in health.file.iter().enumerate() {
        look(format!("health.file[{index}]"), check.interval, None);
    }
    for (index, check) in health.http.iter().enumerate() {
        look(format!("health.http[{index}]"), check.interval, check.timeout);
    }
    for (index, check) in health.tcp.iter().enumerate() {
        look(format!("health.tcp[{index}]"), check.interval, check.timeout);
    }
    if let Some(azure) = &config.storage.azure {
        floor(
            "storage.azure.retry_delay",
            azure.retry_delay,
            Zero::Default,
            TIMEOUT_FLOOR,
        );
    }
    let redis = &config.redis;
    for (key, span) in [
        ("dialtimeout", redis.dialtimeout),
        ("readtimeout", redis.readtimeout),
        ("writetimeout", redis.writetimeout),
    ] {
        floor(&format!("redis.{key}"), span, Zero::Unlimited, TIMEOUT_FLOOR);
    }
}

/// The meaning of a zero and of a negative duration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zero {
    /// Zero is the default, a negative duration is refused.
    Default,
    /// Both are the default.
    Unlimited,
    /// Both are refused.
    Refused,
}
