//! Checks of entries against each other, and of keys that exclude each other.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use umacvlan_api::LinkSpec;
use umacvlan_core::Mode;
use umacvlan_core::options::ProgramKind;
use umacvlan_core::rules::RuleWord;

use super::diagnostic::Diagnostic;
use super::parse::ParsedLink;
use super::table::toml_key;

/// Checks every link alone and against the others.
pub(super) fn check(links: &[ParsedLink], diagnostics: &mut Vec<Diagnostic>) {
    for link in links {
        check_alone(link, diagnostics);
    }
    check_bursts(links, diagnostics);
    check_owners(links, diagnostics);
    check_addresses(links, diagnostics);
    check_names(links, diagnostics);
}

/// Keys of another mode, and repeated addresses of a source list.
fn check_alone(link: &ParsedLink, diagnostics: &mut Vec<Diagnostic>) {
    let (spec, spans) = (&link.entry.spec, &link.spans);
    let mut wrong = |key: &str, message: String| {
        diagnostics.push(Diagnostic { span: spans.of(key), message });
    };
    // An invalid mode has its own diagnostic, and no key can be checked against it.
    if let Some(mode) = link.mode {
        let only = |what, owner| {
            format!("{what} is for mode {owner}, and this is {mode}: expected both or neither")
        };
        if let Some((flag, owner)) = spec.settings.misplaced_flag() {
            wrong(flag.name(), only(flag.name(), owner));
        }
        if !link.macaddr.is_empty() && mode != Mode::Source {
            wrong("macaddr", only("macaddr", Mode::Source));
        }
        if mode == Mode::Source
            && spec.settings.rules.restricts_receiving()
            && let Some(word) = RULES_OF_RECEIVERS.into_iter().find(|word| spans.has(word.name()))
        {
            let word = word.name();
            wrong(
                word,
                format!("{word} is not for mode source, which receives by its macaddr list"),
            );
        }
        if !spec.host.is_off() && !matches!(mode, Mode::Bridge | Mode::Vepa) {
            wrong("host", format!("host is for modes bridge and vepa, and this is {mode}"));
        }
        if spec.address.is_some() && mode == Mode::Passthru {
            let text = "mode passthru has the address of its parent, expected no address here";
            wrong("address", text.to_owned());
        }
    }
    if let Some(fault) = spec.host.fault() {
        wrong("host_address", fault.to_owned());
    }
    for key in ["dhcp_client_id", "dhcp_hostname"] {
        if spans.has(key) && spec.dhcp.is_none() {
            wrong(key, format!("{key} is for a link with dhcp = true: expected both or neither"));
        }
    }
    if let Some(fault) = spec.dhcp.as_ref().and_then(umacvlan_api::Dhcp::fault) {
        wrong("dhcp", fault);
    }
    let is_program = spec.port.is_some();
    if is_program && spec.dhcp.is_some() {
        let text = "dhcp: the program at the far end has its own client, expected no dhcp here";
        wrong("dhcp", text.to_owned());
    }
    check_program_interface(spec, spans.has("dev"), &mut wrong);
    let is_client = spec.client.is_some();
    let owns = [("user", spec.user.is_some()), ("group", spec.group.is_some())];
    for (key, given) in owns {
        if given && is_client {
            let text = "is of a socket that the daemon makes, and with client the program makes it";
            wrong(key, format!("{key} {text}: expected one of them"));
        }
    }
    for (key, given) in owns.into_iter().chain([("client", is_client)]) {
        if given && !is_program {
            let text = "is of the socket of a program: expected port = \"stream\" or \"vhost-user\" \
                        with it";
            wrong(key, format!("{key} {text}"));
        }
    }
    if is_program && spec.netns.is_some() {
        let text = "the far end of this link is a program, expected no namespace here";
        wrong("netns", text.to_owned());
    }
    let mut seen = BTreeSet::new();
    for address in &link.macaddr {
        if !seen.insert(address.get_ref()) {
            let message =
                format!("macaddr: {} is given twice, expected each once", address.get_ref());
            diagnostics.push(Diagnostic { span: address.span(), message });
        }
    }
}

/// Checks what is said about a program that is behind an interface; `named`: an interface is given, be its
/// name valid or not.
fn check_program_interface(spec: &LinkSpec, named: bool, wrong: &mut impl FnMut(&str, String)) {
    let is_dev = spec.port == Some(ProgramKind::Dev);
    if is_dev && !named {
        wrong(
            "port",
            "port = \"dev\" is for an interface: expected dev = \"NAME\" with it".to_owned(),
        );
    }
    if !is_dev && spec.dev.is_some() {
        wrong(
            "dev",
            "dev is the interface of a program: expected port = \"dev\" with it".to_owned(),
        );
    }
    if spec.port.is_some_and(ProgramKind::has_interface) && spec.client.is_some() {
        wrong("client", "client is a socket, and this program has an interface".to_owned());
    } else if spec.port.is_some_and(|kind| !kind.can_listen()) && spec.client.is_some() {
        let text =
            "client: this program sends to the socket of the daemon, expected no client here";
        wrong("client", text.to_owned());
    }
    for (key, given) in [("user", spec.user.is_some()), ("group", spec.group.is_some())] {
        if is_dev && given {
            wrong(key, format!("{key}: the interface is there already, expected no {key} here"));
        }
    }
}

const RULES_OF_RECEIVERS: [RuleWord; 3] =
    [RuleWord::AllowEthertype, RuleWord::AllowMac, RuleWord::Isolation];

/// A burst is what may pass above a rate.
fn check_bursts(links: &[ParsedLink], diagnostics: &mut Vec<Diagnostic>) {
    for link in links {
        if let Some((burst, rate)) = link.entry.spec.settings.limits.lone_burst() {
            let key = if link.spans.has(burst) { burst } else { "burst" };
            let message = format!(
                "{burst} is what may pass above {rate}, and there is none: expected a rate, or no burst"
            );
            diagnostics.push(Diagnostic { span: link.spans.of(key), message });
        }
    }
}

/// A passthru link is the only link of its parent.
fn check_owners(links: &[ParsedLink], diagnostics: &mut Vec<Diagnostic>) {
    let mut by_parent: BTreeMap<&str, Vec<&ParsedLink>> = BTreeMap::new();
    for link in links.iter().filter(|link| !link.entry.spec.parent.is_empty()) {
        by_parent.entry(&link.entry.spec.parent).or_default().push(link);
    }
    for (parent, links) in by_parent {
        for owner in links.iter().filter(|link| link.entry.spec.settings.mode == Mode::Passthru) {
            let Some(other) = links.iter().find(|other| other.key != owner.key) else { break };
            let message = format!(
                "mode passthru needs {parent} to itself, and [link.{}] is on it too: expected no \
                 other link there, or another mode",
                toml_key(&other.key)
            );
            diagnostics.push(Diagnostic { span: owner.spans.of("mode"), message });
        }
    }
}

/// Links that are up on the same parent have different addresses.
fn check_addresses(links: &[ParsedLink], diagnostics: &mut Vec<Diagnostic>) {
    let mut owners = BTreeMap::new();
    for link in links {
        let spec = &link.entry.spec;
        let counts = spec.up != Some(false) && !spec.parent.is_empty();
        let Some(address) = spec.address.filter(|_| counts) else { continue };
        match owners.entry((&spec.parent, address)) {
            Entry::Vacant(vacant) => _ = vacant.insert(&link.key),
            Entry::Occupied(owner) => {
                let message = format!(
                    "{address} is the address of [link.{}] too, on the same parent {}: expected \
                     an address of its own",
                    toml_key(owner.get()),
                    spec.parent
                );
                diagnostics.push(Diagnostic { span: link.spans.of("address"), message });
            }
        }
    }
}

/// Interfaces in the same namespace have different names.
fn check_names(links: &[ParsedLink], diagnostics: &mut Vec<Diagnostic>) {
    let mut owners = BTreeMap::new();
    for link in links {
        let name = link.entry.interface_name(&link.key);
        match owners.entry((link.entry.spec.netns.as_deref(), name)) {
            Entry::Vacant(vacant) => _ = vacant.insert(&link.key),
            Entry::Occupied(owner) => {
                let message = format!(
                    "{name} is the name of [link.{}] too, in the same namespace: expected a name \
                     of its own",
                    toml_key(owner.get())
                );
                diagnostics.push(Diagnostic { span: link.spans.of("name"), message });
            }
        }
    }
}
