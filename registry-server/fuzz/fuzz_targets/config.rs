//! A configuration file: no text panics, and what is accepted is accepted again as it is printed.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(loaded) = registry_config::load(text, []) {
        let printed = loaded.tree.to_yaml();
        assert!(registry_config::load(&printed, []).is_ok(), "printed:\n{printed}");
    }
});
