//! Parts of an upload that are objects of their own, for a store that has nothing better: where they lie, and what was
//! left of which upload.

use std::collections::BTreeMap;

use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{ObjectMeta, Result};

use super::classify::ErrorClassifier;
use crate::storage::layout::PathPrefix;
use crate::storage::{Error, StorageKey, UnfinishedUpload};

/// What the name of something that was put together of parts begins with.
pub(super) const JOINED: &str = "joined-";

/// Where all parts lie, with a slash behind.
fn top(prefix: &str) -> String {
    format!("{prefix}{}/", PathPrefix::Parts.key())
}

/// Where an upload's parts lie, with a slash behind.
pub(super) fn folder(prefix: &str, path: &Path, id: &str) -> String {
    let key = path.as_ref();
    format!("{}{}/{id}/", top(prefix), key.strip_prefix(prefix).unwrap_or(key))
}

/// Everything that begins with a prefix.
pub(super) async fn below(store: &dyn PaginatedListStore, prefix: &str) -> Result<Vec<ObjectMeta>> {
    let (mut found, mut token) = (Vec::new(), None);
    loop {
        let options = PaginatedListOptions {
            page_token: token,
            ..PaginatedListOptions::default()
        };
        let page = store.list_paginated(Some(prefix), options).await?;
        found.extend(page.result.objects);
        token = page.page_token;
        if token.is_none() {
            return Ok(found);
        }
    }
}

/// The uploads below a root that have parts.
pub(super) async fn unfinished(
    store: &dyn PaginatedListStore,
    prefix: &str,
    classifier: &ErrorClassifier,
) -> Result<Vec<UnfinishedUpload>, Error> {
    let top = top(prefix);
    let found = below(store, &top).await;
    let found = found.map_err(|error| {
        classifier.classify("list the unfinished uploads of", &PathPrefix::Parts.key(), error)
    })?;
    let mut uploads = BTreeMap::<(StorageKey, String), UnfinishedUpload>::new();
    for part in found {
        let name = part.location.as_ref();
        let Some((folder, name)) = name.strip_prefix(&top).and_then(|name| name.rsplit_once('/')) else {
            continue;
        };
        let Some((key, upload)) = folder.rsplit_once('/') else {
            continue;
        };
        // What we never wrote is not ours to judge.
        let Ok(key) = StorageKey::parse(key) else { continue };
        let modified = part.last_modified.into();
        let known = uploads
            .entry((key.clone(), upload.to_owned()))
            .or_insert(UnfinishedUpload {
                key,
                upload: upload.to_owned(),
                modified,
                bytes: 0,
            });
        known.modified = known.modified.max(modified);
        // What was put together has no bytes of its own.
        if !name.starts_with(JOINED) {
            known.bytes += part.size;
        }
    }
    Ok(uploads.into_values().collect())
}
