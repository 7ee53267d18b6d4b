//! What a test may ask before it needs namespaces of its own.

use std::io::{self, Write};

use umacvlan_sys::netns::Netns;

/// True if this process can make network namespaces; otherwise says on standard error that the
/// test named `test` is skipped, and why.
///
/// # Panics
/// Instead of a skip if the environment has `CI=true`: there the privilege is expected, and a
/// test that does not run must not look like one that passed.
pub fn root_or_skip(test: &str) -> bool {
    match Netns::create() {
        Ok(_) => true,
        Err(why) => {
            skip(test, &why.to_string());
            false
        }
    }
}

/// Says on standard error that the test named `test` is skipped because of `why`.
///
/// # Panics
/// If the environment has `CI=true`.
pub fn skip(test: &str, why: &str) {
    let expected = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!expected, "{test} must run under CI=true, but: {why}");
    // Not eprintln: the test harness would keep that to itself.
    let _ = writeln!(io::stderr(), "skipped: {test}: {why}");
}
