//! The one model of config.yml, its environment overlay and its validation
