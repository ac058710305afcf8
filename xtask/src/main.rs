//! Everything that is run while developing.
#![forbid(unsafe_code)]
fn main() {}
