//! Full literal keys, and that reading undoes writing.

use proptest::prelude::*;

use super::*;

const RUN: Uuid = Uuid::from_u128(0x0b1f_9a2e_7c51_4c0e_9a3d_5f0e_6d7c_8b9a);
const HEX: &str = "6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b";

fn repository() -> RepositoryName {
    RepositoryName::parse("library/debian").unwrap()
}

fn ours() -> Digest {
    Digest::parse(&format!("sha256:{HEX}")).unwrap()
}

fn tag() -> Tag {
    Tag::parse("v1.0").unwrap()
}

fn id() -> UploadId {
    UploadId::parse("0193-ab").unwrap()
}

#[test]
fn every_object_has_distributions_key() {
    let (repository, digest, tag, id) = (repository(), ours(), tag(), id());
    let home = "docker/registry/v2/repositories/library/debian";
    let our_home = "docker/registry/berth/v1/repositories/library/debian/_referrers";
    let table = [
        (
            ObjectPath::BlobData { digest },
            format!("docker/registry/v2/blobs/sha256/6c/{HEX}/data"),
        ),
        (
            ObjectPath::LayerLink {
                repository: repository.clone(),
                digest,
            },
            format!("{home}/_layers/sha256/{HEX}/link"),
        ),
        (
            ObjectPath::RevisionLink {
                repository: repository.clone(),
                digest,
            },
            format!("{home}/_manifests/revisions/sha256/{HEX}/link"),
        ),
        (
            ObjectPath::TagCurrent {
                repository: repository.clone(),
                tag: tag.clone(),
            },
            format!("{home}/_manifests/tags/v1.0/current/link"),
        ),
        (
            ObjectPath::TagIndex {
                repository: repository.clone(),
                tag,
                digest,
            },
            format!("{home}/_manifests/tags/v1.0/index/sha256/{HEX}/link"),
        ),
        (
            ObjectPath::UploadData {
                repository: repository.clone(),
                id: id.clone(),
            },
            format!("{home}/_uploads/0193-ab/data"),
        ),
        (
            ObjectPath::UploadSession {
                repository: repository.clone(),
                id: id.clone(),
            },
            format!("{home}/_uploads/0193-ab/session"),
        ),
        (
            ObjectPath::UploadStartedAt {
                repository: repository.clone(),
                id: id.clone(),
            },
            format!("{home}/_uploads/0193-ab/startedat"),
        ),
        (
            ObjectPath::UploadHashState {
                repository: repository.clone(),
                id,
                offset: 1048576,
            },
            format!("{home}/_uploads/0193-ab/hashstates/sha256/1048576"),
        ),
        (
            ObjectPath::ReferrerEntry {
                repository: repository.clone(),
                subject: digest,
                referrer: digest,
            },
            format!("{our_home}/subjects/sha256/{HEX}/sha256-{HEX}"),
        ),
        (
            ObjectPath::ReferrerKnown {
                repository: repository.clone(),
                digest,
            },
            format!("{our_home}/known/sha256/{HEX}"),
        ),
        (
            ObjectPath::LastDeletion {
                repository: repository.clone(),
            },
            "docker/registry/berth/v1/repositories/library/debian/_deleted".to_owned(),
        ),
        (
            ObjectPath::BlobAlias { digest },
            format!("docker/registry/berth/v1/blobs/sha256/6c/{HEX}"),
        ),
        (ObjectPath::Owner, "docker/registry/berth/v1/owner".to_owned()),
        (
            ObjectPath::Trashed {
                run: RUN,
                was: Box::new(ObjectPath::BlobData { digest }),
            },
            format!("docker/registry/berth/v1/trash/{RUN}/objects/v2/blobs/sha256/6c/{HEX}/data"),
        ),
        (
            ObjectPath::Trashed {
                run: RUN,
                was: Box::new(ObjectPath::BlobAlias { digest }),
            },
            format!("docker/registry/berth/v1/trash/{RUN}/objects/berth/v1/blobs/sha256/6c/{HEX}"),
        ),
        (
            ObjectPath::TrashJournal { run: RUN, number: 17 },
            format!("docker/registry/berth/v1/trash/{RUN}/journal/00000017"),
        ),
        (
            ObjectPath::Incoming { id: RUN },
            format!("docker/registry/berth/v1/incoming/{RUN}"),
        ),
    ];
    for (place, expected) in table {
        assert_eq!(place.key().as_str(), expected, "{place:?}");
        assert_eq!(
            ObjectPath::parse(&place.key()).as_ref(),
            Some(&place),
            "{expected}"
        );
    }
}

#[test]
fn a_manifest_known_by_another_algorithm_is_so_outside_of_distributions_tree() {
    let (repository, digest) = (repository(), Digest::of(Algorithm::Sha512, b""));
    let home = "docker/registry/berth/v1/repositories/library/debian/_revisions/sha512";
    let place = ObjectPath::RevisionLink {
        repository: repository.clone(),
        digest,
    };
    assert_eq!(place.key().as_str(), format!("{home}/{}/link", digest.hex()));
    for area in [
        PathPrefix::Revisions(&repository, Algorithm::Sha512),
        PathPrefix::Revision(&repository, &digest),
    ] {
        assert!(
            place.key().as_str().starts_with(&format!("{}/", area.key())),
            "{area:?}"
        );
    }
    let theirs = "docker/registry/v2/repositories/library/debian/_manifests/revisions/sha512";
    let key = StorageKey::parse(&format!("{theirs}/{}/link", digest.hex())).unwrap();
    assert_eq!(ObjectPath::parse(&key), None);
}

#[test]
fn every_area_holds_its_objects() {
    let (repository, digest, tag, id) = (repository(), ours(), tag(), id());
    let r = &repository;
    let within = [
        (
            PathPrefix::Repositories,
            ObjectPath::LayerLink {
                repository: r.clone(),
                digest,
            },
        ),
        (
            PathPrefix::Repository(r),
            ObjectPath::LayerLink {
                repository: r.clone(),
                digest,
            },
        ),
        (
            PathPrefix::Layers(r),
            ObjectPath::LayerLink {
                repository: r.clone(),
                digest,
            },
        ),
        (
            PathPrefix::Layer(r, &digest),
            ObjectPath::LayerLink {
                repository: r.clone(),
                digest,
            },
        ),
        (
            PathPrefix::Manifests(r),
            ObjectPath::RevisionLink {
                repository: r.clone(),
                digest,
            },
        ),
        (
            PathPrefix::Revisions(r, Algorithm::Sha256),
            ObjectPath::RevisionLink {
                repository: r.clone(),
                digest,
            },
        ),
        (
            PathPrefix::Revision(r, &digest),
            ObjectPath::RevisionLink {
                repository: r.clone(),
                digest,
            },
        ),
        (
            PathPrefix::Tags(r),
            ObjectPath::TagCurrent {
                repository: r.clone(),
                tag: tag.clone(),
            },
        ),
        (
            PathPrefix::Tag(r, &tag),
            ObjectPath::TagIndex {
                repository: r.clone(),
                tag: tag.clone(),
                digest,
            },
        ),
        (
            PathPrefix::Uploads(r),
            ObjectPath::UploadStartedAt {
                repository: r.clone(),
                id: id.clone(),
            },
        ),
        (
            PathPrefix::Upload(r, &id),
            ObjectPath::UploadData {
                repository: r.clone(),
                id: id.clone(),
            },
        ),
        (
            PathPrefix::UploadHashStates(r, &id),
            ObjectPath::UploadHashState {
                repository: r.clone(),
                id: id.clone(),
                offset: 7,
            },
        ),
        (
            PathPrefix::Subject(r, &digest),
            ObjectPath::ReferrerEntry {
                repository: r.clone(),
                subject: digest,
                referrer: digest,
            },
        ),
        (
            PathPrefix::ReferrersKnown(r, Algorithm::Sha256),
            ObjectPath::ReferrerKnown {
                repository: r.clone(),
                digest,
            },
        ),
        (
            PathPrefix::LayersOf(r, Algorithm::Sha256),
            ObjectPath::LayerLink {
                repository: r.clone(),
                digest,
            },
        ),
        (
            PathPrefix::TagHistory(r, &tag, Algorithm::Sha256),
            ObjectPath::TagIndex {
                repository: r.clone(),
                tag: tag.clone(),
                digest,
            },
        ),
        (
            PathPrefix::BlobStarts(Algorithm::Sha256),
            ObjectPath::BlobData { digest },
        ),
        (
            PathPrefix::BlobAliasStarts(Algorithm::Sha256),
            ObjectPath::BlobAlias { digest },
        ),
        (
            PathPrefix::Blobs(Algorithm::Sha256, 0x6c),
            ObjectPath::BlobData { digest },
        ),
        (
            PathPrefix::BlobAliases(Algorithm::Sha256, 0x6c),
            ObjectPath::BlobAlias { digest },
        ),
        (
            PathPrefix::IndexedRepositories,
            ObjectPath::ReferrerKnown {
                repository: r.clone(),
                digest,
            },
        ),
        (
            PathPrefix::Subjects(r, Algorithm::Sha256),
            ObjectPath::ReferrerEntry {
                repository: r.clone(),
                subject: digest,
                referrer: digest,
            },
        ),
        (PathPrefix::Writers, ObjectPath::Writer { id: RUN }),
        (PathPrefix::Probes, ObjectPath::Probe { id: RUN }),
        (PathPrefix::Incoming, ObjectPath::Incoming { id: RUN }),
        (
            PathPrefix::TrashJournal(RUN),
            ObjectPath::TrashJournal { run: RUN, number: 1 },
        ),
        (
            PathPrefix::Referrers(r),
            ObjectPath::ReferrerKnown {
                repository: r.clone(),
                digest,
            },
        ),
    ];
    let trashed = ObjectPath::Trashed {
        run: RUN,
        was: Box::new(ObjectPath::BlobData { digest }),
    };
    for area in [PathPrefix::Trash, PathPrefix::TrashOf(RUN)] {
        assert!(trashed.key().as_str().starts_with(&format!("{}/", area.key())));
    }
    for (area, place) in within {
        let (area_key, key) = (area.key(), place.key());
        assert!(
            key.as_str().starts_with(&format!("{area_key}/")),
            "{area:?}: {area_key} holds {key}"
        );
    }
}

#[test]
fn what_no_registry_wrote_is_not_recognised() {
    let home = "docker/registry/v2/repositories/library/debian";
    for text in [
        "docker/registry/v2".to_owned(),
        format!("docker/registry/v2/blobs/sha256/00/{HEX}/data"),
        format!("docker/registry/v2/blobs/sha256/6c/{HEX}/data.tmp"),
        format!("{home}/_layers/sha256/{HEX}"),
        format!("{home}/_layers/sha256/zz/link"),
        format!("{home}/_manifests/tags/v1/current/link/x"),
        format!("{home}/_uploads/0193-ab/hashstates/sha256/007"),
        format!("docker/registry/v2/repositories/Library/Debian_/_layers/sha256/{HEX}/link"),
        format!("elsewhere/docker/registry/v2/blobs/sha256/6c/{HEX}/data"),
        format!("docker/registry/berth/v1/trash/{RUN}/objects/v2/elsewhere"),
        format!("docker/registry/berth/v1/trash/{RUN}/journal/17"),
    ] {
        assert_eq!(
            ObjectPath::parse(&StorageKey::parse(&text).unwrap()),
            None,
            "{text}"
        );
    }
}

#[test]
fn a_start_is_two_lower_case_hexadecimal_digits() {
    assert_eq!((listed_start("00"), listed_start("6c")), (Some(0), Some(0x6c)));
    for name in ["", "6", "6C", "+6", "06c", "zz"] {
        assert_eq!(listed_start(name), None, "{name}");
    }
}

#[test]
fn a_repository_is_what_has_a_manifests_side() {
    let entry = |name: &str, kind| Entry {
        name: name.to_owned(),
        kind,
    };
    assert_eq!(
        repository_entry(&entry("_manifests", EntryKind::Prefix)),
        RepositoryEntry::Manifests
    );
    assert_eq!(
        repository_entry(&entry("debian", EntryKind::Prefix)),
        RepositoryEntry::Component
    );
    assert_eq!(
        repository_entry(&entry("_uploads", EntryKind::Prefix)),
        RepositoryEntry::Uploads
    );
    assert_eq!(
        repository_entry(&entry("_layers", EntryKind::Prefix)),
        RepositoryEntry::Layers
    );
    assert_eq!(
        repository_entry(&entry("debian", EntryKind::Object)),
        RepositoryEntry::Other
    );
}

proptest! {
    #[test]
    fn reading_undoes_writing(
        name in "[a-z0-9]{1,6}(/(blobs|uploads|tags|x[0-9]{1,3})){0,4}",
        tag in "[A-Za-z0-9_][A-Za-z0-9._-]{0,20}",
        id in "[a-zA-Z0-9=_-]{1,40}",
        offset: u64,
        number: u64,
        content: [u8; 4],
    ) {
        let repository = RepositoryName::parse(&name).unwrap();
        let (tag, id) = (Tag::parse(&tag).unwrap(), UploadId::parse(&id).unwrap());
        for algorithm in Algorithm::ALL {
            let digest = Digest::of(algorithm, &content);
            let (r, t, i) = (|| repository.clone(), || tag.clone(), || id.clone());
            for place in [
                ObjectPath::BlobData { digest },
                ObjectPath::BlobAlias { digest },
                ObjectPath::LayerLink { repository: r(), digest },
                ObjectPath::RevisionLink { repository: r(), digest },
                ObjectPath::TagCurrent { repository: r(), tag: t() },
                ObjectPath::TagIndex { repository: r(), tag: t(), digest },
                ObjectPath::UploadData { repository: r(), id: i() },
                ObjectPath::UploadStartedAt { repository: r(), id: i() },
                ObjectPath::UploadHashState { repository: r(), id: i(), offset },
                ObjectPath::ReferrerEntry { repository: r(), subject: digest, referrer: digest },
                ObjectPath::ReferrerKnown { repository: r(), digest },
                ObjectPath::LastDeletion { repository: r() },
                ObjectPath::Owner,
                ObjectPath::Writer { id: RUN },
                ObjectPath::Probe { id: RUN },
                ObjectPath::Incoming { id: RUN },
                ObjectPath::TrashJournal { run: RUN, number },
                ObjectPath::Trashed { run: RUN, was: Box::new(ObjectPath::LayerLink { repository: r(), digest }) },
                ObjectPath::Trashed { run: RUN, was: Box::new(ObjectPath::TagCurrent { repository: r(), tag: t() }) },
            ] {
                let (key, prune_root) = (place.key(), place.prune_root());
                prop_assert!(key.as_str().starts_with(&format!("{prune_root}/")), "{} {}", prune_root, key);
                prop_assert_eq!(ObjectPath::parse(&place.key()), Some(place));
            }
        }
    }

    #[test]
    fn no_mutated_key_panics_and_what_is_read_is_written_the_same(text in registry_mutation::mutated_text(&[
        "docker/registry/v2/blobs/sha256/e3/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855/data",
        "docker/registry/v2/repositories/a/b/_layers/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855/link",
        "docker/registry/v2/repositories/a/_manifests/tags/v1/current/link",
        "docker/registry/v2/repositories/a/_uploads/x/hashstates/sha256/1024",
        "docker/registry/berth/v1/trash/0b1f9a2e-7c51-4c0e-9a3d-5f0e6d7c8b9a/objects/v2/repositories/a/_manifests/tags/v1/current/link",
    ])) {
        if let Ok(key) = StorageKey::parse(&text)
            && let Some(place) = ObjectPath::parse(&key)
        {
            prop_assert_eq!(place.key(), key);
        }
    }

    #[test]
    fn no_key_panics(text in "(docker/registry/v2/|blobs/|repositories/|_layers/|_manifests/|sha256/|a/|link){0,8}x") {
        if let Ok(key) = StorageKey::parse(&text) {
            let _ = ObjectPath::parse(&key);
        }
    }
}
