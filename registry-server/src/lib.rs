//! Berth's registry server: a drop-in for registry:2 and registry:3
