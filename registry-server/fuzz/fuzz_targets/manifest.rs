//! A pushed manifest: no bytes panic, with a media type or without one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use registry_oci::{Manifest, MediaType};

fuzz_target!(|bytes: &[u8]| {
    let _ = Manifest::parse(bytes, None);
    let _ = Manifest::parse(bytes, Some(&MediaType::OCI_MANIFEST));
    let _ = Manifest::parse(bytes, Some(&MediaType::OCI_INDEX));
});
