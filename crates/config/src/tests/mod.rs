//! Tests of the whole configuration: diagnostics, written files, and the steps of a reload.

mod arbitrary;
mod diagnostics;
mod plans;
mod written;

use super::*;

/// The CPUs of the imaginary machine.
const CPUS: &[usize] = &[0, 1, 2, 3];

/// Parses `text`.
fn config(text: &str) -> Config {
    Config::parse("f", text, CPUS).unwrap().config
}
