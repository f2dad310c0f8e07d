//! Digests, references, media types and manifests: values that cannot be invalid
