//! Skipping a test that needs more than this machine or user has.

use std::io::{self, Write};
use std::thread;

use umacvlan_sys::netns::Netns;

/// Returns whether this process can make network namespaces. If it cannot, [`skip`] reports that
/// the calling test does not run.
///
/// # Panics
/// As [`skip`].
pub fn root_or_skip() -> bool {
    match Netns::create() {
        Ok(_) => true,
        Err(why) => {
            skip(&why.to_string());
            false
        }
    }
}

/// Reports on standard error that the calling test is skipped because of `why`. The test is known
/// by the name of its thread, which the test harness sets.
///
/// # Panics
/// If the environment has `CI=true`: CI has everything that a test needs, and a skipped test there
/// must not look like one that passed.
pub fn skip(why: &str) {
    let thread = thread::current();
    // A harness with one thread runs tests on the main thread, and names the test itself.
    let test = thread.name().filter(|&name| name != "main").unwrap_or("this test");
    let expected = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!expected, "{test} must run under CI=true, but: {why}");
    // Not eprintln: the test harness captures its output.
    let _ = writeln!(io::stderr(), "skipped: {test}: {why}");
}
