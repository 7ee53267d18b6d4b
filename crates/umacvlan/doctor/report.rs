//! [`Report`]: all checks, as JSON and as text.

use std::fmt::Write;

use serde::Serialize;

use super::check::{Check, State};
use super::nic::Nic;
use umacvlan_text::table::Tint;

/// The JSON of `umacvlan doctor -j`, documented in umacvlan(8).
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    /// No check fails.
    pub(super) usable: bool,
    machine: Vec<Check>,
    daemon: Vec<Check>,
    containers: Vec<Check>,
    interfaces: Vec<Nic>,
}

impl Report {
    pub(super) fn new(
        machine: Vec<Check>,
        daemon: Vec<Check>,
        containers: Vec<Check>,
        interfaces: Vec<Nic>,
    ) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let mut report = Self { version, usable: false, machine, daemon, containers, interfaces };
        report.usable = report.count(State::Fail) == 0;
        report
    }

    /// One line per check, and below it the command that fixes it.
    pub(super) fn text(&self, colour: bool) -> String {
        let mut text = String::new();
        let interfaces = self.interfaces.iter().flat_map(|nic| {
            nic.checks.iter().map(|check| (nic.name.as_str(), check)).collect::<Vec<_>>()
        });
        section(&mut text, "machine", &named(&self.machine), colour);
        section(&mut text, "daemon", &named(&self.daemon), colour);
        section(&mut text, "containers", &named(&self.containers), colour);
        section(&mut text, "interfaces", &interfaces.collect::<Vec<_>>(), colour);
        let (fails, warns) = (self.count(State::Fail), self.count(State::Warn));
        let verdict = match self.usable {
            true => Tint::Good.paint("umacvlan can be used here", colour),
            false => Tint::Bad.paint("umacvlan cannot be used as asked", colour),
        };
        let _ = writeln!(text, "{verdict}: fail {fails}, warn {warns}");
        text
    }

    fn count(&self, state: State) -> usize {
        let interfaces = self.interfaces.iter().flat_map(|nic| &nic.checks);
        let all = [&self.machine, &self.daemon, &self.containers].into_iter().flatten();
        let all = all.chain(interfaces);
        all.filter(|check| check.state == state).count()
    }
}

fn named(checks: &[Check]) -> Vec<(&str, &Check)> {
    checks.iter().map(|check| (check.name, check)).collect()
}

fn section(text: &mut String, title: &str, rows: &[(&str, &Check)], colour: bool) {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let _ = writeln!(text, "{}", Tint::Bold.paint(title, colour));
    let mut last = "";
    for &(name, check) in rows {
        // The name of an interface is shown once.
        let shown = if name == last { "" } else { name };
        last = name;
        let state = check.state.tint().paint(&format!("{:<4}", check.state.word()), colour);
        let _ = writeln!(text, "  {state}  {shown:<width$}  {}", check.found);
        if let Some(fix) = &check.fix {
            let _ = writeln!(text, "        {:<width$}  -> {fix}", "");
        }
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(state: State) -> Report {
        let checks = vec![
            Check::ok("kernel", "Linux 6"),
            Check::new("capabilities", state, "no CAP_NET_RAW").fix("run it as root"),
        ];
        Report::new(checks, Vec::new(), Vec::new(), Vec::new())
    }

    #[test]
    fn rows_are_aligned_and_the_fix_follows() {
        let wanted = "machine\n  \
                      ok    kernel        Linux 6\n  \
                      warn  capabilities  no CAP_NET_RAW\n                      \
                      -> run it as root\n\n";
        let text = report(State::Warn).text(false);
        assert!(text.starts_with(wanted), "{text}");
        assert!(text.ends_with("umacvlan can be used here: fail 0, warn 1\n"), "{text}");
    }

    #[test]
    fn one_failure_is_enough() {
        assert!(report(State::Info).usable);
        let failed = report(State::Fail);
        assert!(!failed.usable);
        assert!(failed.text(true).contains("\x1b[31mfail\x1b[0m"));
    }
}
