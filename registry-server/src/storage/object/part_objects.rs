//! Parts of uploads that are objects of their own, in stores without multipart uploads: their names, and the list of
//! unfinished uploads.

use std::collections::BTreeMap;

use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{ObjectMeta, Result};

use crate::storage::layout::PathPrefix;
use crate::storage::{StorageKey, UnfinishedUpload};

/// The prefix of the name of an object that was composed of parts.
pub(super) const JOINED: &str = "joined-";

/// The prefix of all parts, with a slash at the end.
fn top(prefix: &str) -> String {
    format!("{prefix}{}/", PathPrefix::Parts.key())
}

/// The prefix of an upload's parts, with a slash at the end.
pub(super) fn folder(prefix: &str, path: &Path, id: &str) -> String {
    let key = path.as_ref();
    format!("{}{}/{id}/", top(prefix), key.strip_prefix(prefix).unwrap_or(key))
}

/// All objects below a prefix.
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
) -> Result<Vec<UnfinishedUpload>> {
    let top = top(prefix);
    let found = below(store, &top).await?;
    let mut uploads = BTreeMap::<(StorageKey, String), UnfinishedUpload>::new();
    for part in found {
        let name = part.location.as_ref();
        let Some((folder, name)) = name.strip_prefix(&top).and_then(|name| name.rsplit_once('/')) else {
            continue;
        };
        let Some((key, upload)) = folder.rsplit_once('/') else {
            continue;
        };
        // No registry wrote such a key.
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
        // A composed object has no bytes of its own.
        if !name.starts_with(JOINED) {
            known.bytes += part.size;
        }
    }
    Ok(uploads.into_values().collect())
}
