//! [`Need`]: what a configuration names that the machine has to have, so that a check can look for it.

use std::ops::Range;

use umacvlan_core::VlanName;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::parse::{Parsed, ParsedLink};

/// What has to be there before the daemon can do what the file requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A group, by name or number.
    Group(String),
    /// A network namespace: a name, a path or the id of a process.
    Netns(String),
    /// An interface of the name of this VLAN, because the host is to be reached from its address.
    VlanInterface(String),
}

/// What a link needs, with its place in the file.
pub(super) fn of_link(link: &ParsedLink) -> Vec<(Need, Range<usize>)> {
    let (spec, spans) = (&link.entry.spec, &link.spans);
    let mut needs = Vec::new();
    if let Some(netns) = &spec.netns {
        needs.push((Need::Netns(netns.clone()), spans.of("netns")));
    }
    let is_vlan = VlanName::parse(&spec.parent).is_ok();
    if is_vlan && !spec.host.is_off() && spec.host.from.is_empty() {
        needs.push((Need::VlanInterface(spec.parent.clone()), spans.of("host")));
    }
    needs
}

impl Parsed {
    /// A warning for each need of which `lacks` tells that the machine does not have it. `file` and `text` are
    /// those that were parsed.
    pub fn missing(
        &self,
        file: &str,
        text: &str,
        lacks: impl Fn(&Need) -> Option<String>,
    ) -> Diagnostics {
        let found = self.needs.iter().filter_map(|(need, span)| {
            let message = lacks(need)?;
            Some(Diagnostic { span: span.clone(), message })
        });
        Diagnostics::new(file, text, found.collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    #[test]
    fn groups_namespaces_and_interfaces_of_vlans_are_looked_for() {
        let text = "[daemon]\ngroup = \"a\"\n[link.m]\nparent = \"eth0.10\"\nnetns = \"red\"\nhost = [\"192.0.2.1\"]\n";
        let parsed = Config::parse("f", text, &[0]).unwrap();
        let missing = parsed.missing("f", text, |need| Some(format!("{need:?}")));
        let lines: Vec<String> = missing.lines().collect();
        let expected =
            ["f:2:9: Group(\"a\")", "f:5:9: Netns(\"red\")", "f:6:8: VlanInterface(\"eth0.10\")"];
        assert_eq!(lines, expected);
        assert_eq!(parsed.missing("f", text, |_| None).lines().count(), 0);
    }
}
