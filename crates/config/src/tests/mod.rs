//! The configuration as a whole: what is wrong with files, what is written, what a reload does.

mod arbitrary;
mod diagnostics;
mod plans;
mod written;

use super::*;

/// The CPUs of the machine that these tests pretend to have.
const CPUS: &[usize] = &[0, 1, 2, 3];

/// The configuration that `text` is.
fn config(text: &str) -> Config {
    Config::parse("f", text, CPUS).unwrap().config
}
