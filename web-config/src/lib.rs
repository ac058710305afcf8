//! The web configuration file.
#![forbid(unsafe_code)]
