//! [`Call`]: what the environment says is to be done, and for which container.

use std::path::PathBuf;

use super::error::{CONFIG, CniError, ENVIRONMENT};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Check,
    Del,
    Gc,
    Status,
    Version,
}

/// A call of the plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) verb: Verb,
    pub(super) container: String,
    /// The file of the container's namespace; empty where the runtime has none any more.
    pub(super) netns: String,
    /// The name that the interface shall have there.
    pub(super) ifname: String,
    /// Pairs of names and values, from runtimes of before capabilities.
    pub(super) args: String,
    /// Where other plugins are.
    pub(super) path: Vec<PathBuf>,
    /// The runtime does mean its own namespace.
    pub(super) own_netns: bool,
}

/// What each variable is needed for.
const NEEDED: [(&str, &[Verb]); 4] = [
    ("CNI_CONTAINERID", &[Verb::Add, Verb::Check, Verb::Del]),
    ("CNI_NETNS", &[Verb::Add, Verb::Check]),
    ("CNI_IFNAME", &[Verb::Add, Verb::Check, Verb::Del]),
    ("CNI_PATH", &[Verb::Add, Verb::Check, Verb::Del, Verb::Gc, Verb::Status]),
];

impl Call {
    /// Reads the variables, which are empty if they are not set. `None` without a command: then
    /// somebody has called the plugin by hand.
    ///
    /// # Errors
    /// Names those that are missing or wrong.
    pub(super) fn read(variable: impl Fn(&str) -> String) -> Result<Option<Self>, CniError> {
        let command = variable("CNI_COMMAND");
        if command.is_empty() {
            return Ok(None);
        }
        let verb = verb(&command)?;
        let missing = |(name, verbs): &(&'static str, &[Verb])| {
            (verbs.contains(&verb) && variable(name).is_empty()).then_some(*name)
        };
        let missing: Vec<&str> = NEEDED.iter().filter_map(missing).collect();
        if !missing.is_empty() {
            let msg = format!("required env variables [{}] missing", missing.join(","));
            return Err(CniError::new(ENVIRONMENT, msg));
        }
        let (container, ifname) = (variable("CNI_CONTAINERID"), variable("CNI_IFNAME"));
        if !container.is_empty() && !is_name(&container) {
            let msg = "invalid characters in containerID";
            return Err(CniError::new(ENVIRONMENT, msg).with_details(container));
        }
        if !ifname.is_empty() {
            check_interface(&ifname)?;
        }
        Ok(Some(Self {
            verb,
            container,
            ifname,
            netns: variable("CNI_NETNS"),
            args: variable("CNI_ARGS"),
            path: std::env::split_paths(&variable("CNI_PATH")).collect(),
            own_netns: ["1", "true"]
                .contains(&variable("CNI_NETNS_OVERRIDE").to_lowercase().as_str()),
        }))
    }
}

fn verb(command: &str) -> Result<Verb, CniError> {
    match command {
        "ADD" => Ok(Verb::Add),
        "CHECK" => Ok(Verb::Check),
        "DEL" => Ok(Verb::Del),
        "GC" => Ok(Verb::Gc),
        "STATUS" => Ok(Verb::Status),
        "VERSION" => Ok(Verb::Version),
        _ => Err(CniError::new(ENVIRONMENT, format!("unknown CNI_COMMAND: {command}"))),
    }
}

/// Whether this may be the name of a network or the id of a container.
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// Checks the name of a network.
///
/// # Errors
/// If it is missing, or something else than letters, digits and `_.-`.
pub(super) fn check_network(name: &str) -> Result<(), CniError> {
    if name.is_empty() {
        return Err(CniError::new(CONFIG, "missing network name"));
    }
    if !is_name(name) {
        let msg = "invalid characters found in network name";
        return Err(CniError::new(CONFIG, msg).with_details(name));
    }
    Ok(())
}

/// As the kernel has it: net/core/dev.c.
fn check_interface(name: &str) -> Result<(), CniError> {
    let wrong = |msg| Err(CniError::new(ENVIRONMENT, msg).with_details(name));
    match name {
        "." | ".." => wrong("interface name is . or .."),
        _ if name.len() > 15 => wrong("interface name is too long: 15 bytes at most"),
        _ if name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) => {
            wrong("interface name contains / or : or whitespace characters")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Call>, CniError> {
        Call::read(|name| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned()).unwrap_or_default()
        })
    }

    const ALL: [(&str, &str); 5] = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/run/netns/blue"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/a:/b"),
    ];

    fn with(name: &str, value: &str) -> Result<Option<Call>, CniError> {
        let others = ALL.iter().copied().filter(|(other, _)| *other != name);
        read(&others.chain([(name, value)]).collect::<Vec<_>>())
    }

    #[test]
    fn a_call_is_read_and_without_a_command_there_is_none() {
        assert_eq!(read(&[]).unwrap(), None);
        let call = read(&ALL).unwrap().unwrap();
        assert_eq!((call.verb, call.container.as_str()), (Verb::Add, "c1"));
        assert_eq!(call.path, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert!(!call.own_netns);
        assert!(with("CNI_NETNS_OVERRIDE", "TRUE").unwrap().unwrap().own_netns);
    }

    #[test]
    fn what_is_missing_is_named_and_only_what_is_needed_is_missed() {
        for (verb, missing) in [
            ("ADD", "[CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH]"),
            ("CHECK", "[CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH]"),
            ("DEL", "[CNI_CONTAINERID,CNI_IFNAME,CNI_PATH]"),
            ("GC", "[CNI_PATH]"),
            ("STATUS", "[CNI_PATH]"),
        ] {
            let error = read(&[("CNI_COMMAND", verb)]).unwrap_err();
            assert_eq!(error.code, ENVIRONMENT);
            assert_eq!(error.msg, format!("required env variables {missing} missing"));
        }
        assert!(read(&[("CNI_COMMAND", "VERSION")]).unwrap().is_some());
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for (name, value, words) in [
            ("CNI_COMMAND", "add", "unknown CNI_COMMAND: add"),
            ("CNI_CONTAINERID", "../x", "invalid characters in containerID"),
            ("CNI_CONTAINERID", ".x", "invalid characters in containerID"),
            ("CNI_IFNAME", "..", "interface name is . or .."),
            ("CNI_IFNAME", "a/b", "interface name contains /"),
            ("CNI_IFNAME", "sixteen-letters-", "too long"),
        ] {
            let error = with(name, value).unwrap_err();
            assert_eq!(error.code, ENVIRONMENT, "{value}");
            assert!(error.msg.contains(words), "{value}: {error:?}");
        }
        assert_eq!(check_network("").unwrap_err().msg, "missing network name");
        assert_eq!(check_network("a/b").unwrap_err().code, CONFIG);
        check_network("a_b.c-9").unwrap();
    }
}
