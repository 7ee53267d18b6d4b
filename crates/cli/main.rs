//! The `umacvlan` command.

fn main() {}
