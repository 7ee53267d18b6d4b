//! Processes of a test.

use std::process::Command;

/// Sends the signal of that name, such as `TERM`, to a process.
///
/// # Panics
/// If there is no such process or signal.
pub fn signal(process: u32, name: &str) {
    let script = format!("kill -s {name} {process}");
    let status = Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(status.success(), "{script}");
}
