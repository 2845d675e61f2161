//! The `iron-runtime` command.
fn main() {}
