//! Names, tags, digests and media types: no text panics, what is accepted is printed as it was given, and a name is a safe path.

#![no_main]

use libfuzzer_sys::fuzz_target;
use registry_oci::{Digest, MediaType, Reference, RepositoryName, Tag, UploadId};

fuzz_target!(|text: &str| {
    if let Ok(name) = RepositoryName::parse(text) {
        assert_eq!(name.as_str(), text);
        let unsafe_part =
            |part: &str| part.is_empty() || part == "." || part == ".." || part.starts_with('_');
        assert!(!text.split('/').any(unsafe_part), "{text:?}");
    }
    if let Ok(tag) = Tag::parse(text) {
        assert_eq!(tag.to_string(), text);
    }
    if let Ok(digest) = Digest::parse(text) {
        assert_eq!(digest.to_string(), text);
    }
    let _ = Reference::parse(text);
    let _ = MediaType::parse(text);
    let _ = UploadId::parse(text);
});
