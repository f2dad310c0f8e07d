//! Berth's operator: turns a Registry into a running registry
