//! A password file: no text panics, and what is shown of it holds no hash.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let read = registry_config::htpasswd::parse(text);
    let shown = format!("{:?}", read.users);
    for hash in read.users.values() {
        assert!(!shown.contains(hash.expose()), "a hash is shown");
    }
});
