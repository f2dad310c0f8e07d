//! The berth.dev API types
