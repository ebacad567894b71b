//! CLI to exit code.

fn main() {}
