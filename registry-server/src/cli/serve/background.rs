//! The tasks that run for as long as the server does: checks, files that are read again, the heartbeat, maintenance.
//!
//! Guarantees: no task writes to the store before the ownership of the store is confirmed; none writes to a read-only
//! store. Each task ends with the runtime.
//! Start at [`watch`] and [`maintain`].

use std::sync::Arc;

use registry_config::model::{Config, Maintenance};
use tokio::task::JoinHandle;

use super::error::Error;
use super::maintenance::{self, PurgeSchedule};
use super::ownership::Ownership;
use super::startup::Opened;
use crate::health::{Check, Health};
use crate::registry::{Heartbeat, LiveServer, Registry};
use crate::storage::Driver;

/// Starts the health checks, and the tasks that look for changed certificates and users.
pub(super) fn watch(opened: &Opened, config: &Config, health: &Health) -> Result<(), Error> {
    if config.health.storagedriver.enabled != Some(false) {
        health.watch_writes(opened.driver.name(), opened.store_health.clone());
    }
    for check in Check::all(&config.health, &opened.driver)? {
        tokio::spawn(health.clone().follow(check));
    }
    if let Some(tls) = &opened.tls {
        tokio::spawn(tls.clone().watch_files());
    }
    tokio::spawn(opened.authenticator.clone().watch_users());
    Ok(())
}

/// Starts the tasks that write to the store. Gives the task that starts the heartbeat; a read-only server has none,
/// because it writes nothing.
pub(super) fn maintain(
    registry: &Registry,
    driver: &Arc<dyn Driver>,
    maintenance: &Maintenance,
    ownership: &Ownership,
) -> Option<JoinHandle<Heartbeat>> {
    if maintenance.is_read_only() {
        return None;
    }
    let (confirmed, registry_of_heartbeat) = (ownership.confirmed(), registry.clone());
    let heartbeat = tokio::spawn(async move {
        confirmed.wait().await;
        Heartbeat::begin(&registry_of_heartbeat, LiveServer::this_process())
    });
    let (confirmed, driver) = (ownership.confirmed(), Arc::clone(driver));
    tokio::spawn(async move {
        confirmed.wait().await;
        maintenance::sweep_leftovers_periodically(driver).await
    });
    if let Some(schedule) = PurgeSchedule::of(maintenance) {
        let (confirmed, registry) = (ownership.confirmed(), registry.clone());
        tokio::spawn(async move {
            confirmed.wait().await;
            maintenance::purge_uploads_periodically(registry, schedule).await
        });
    }
    Some(heartbeat)
}
