//! Processes of a test, and programs for them.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Sends the signal of that name, such as `TERM`, to a process.
///
/// # Panics
/// If there is no such process or signal.
pub fn signal(process: u32, name: &str) {
    let script = format!("kill -s {name} {process}");
    let status = Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(status.success(), "{script}");
}

/// Writes a script that can be run at once.
///
/// Another process writes the file. If this one did, a child that another test starts in the same
/// moment would inherit the descriptor, and the kernel runs no program that somebody has open for
/// writing (`ETXTBSY`).
///
/// # Panics
/// If the file cannot be written.
pub fn write_program(path: &Path, text: &str) {
    let mut writer = Command::new("sh")
        .args(["-c", "cat >\"$1\" && chmod 755 \"$1\"", "sh"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success(), "{}", path.display());
}
