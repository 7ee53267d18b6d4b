//! [`Request`]: the `CNI_*` environment variables of one invocation.

use std::path::PathBuf;

use umacvlan_core::ifname;

use super::error::{CONFIG, CniError, ENVIRONMENT};

/// The value of `CNI_COMMAND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Check,
    Del,
    Gc,
    Status,
    Version,
}

/// The environment variables, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) verb: Verb,
    pub(super) container: String,
    /// The path of the container's namespace; empty if it is gone.
    pub(super) netns: String,
    /// The name of the interface in the namespace.
    pub(super) ifname: String,
    /// `CNI_ARGS`: pairs of names and values, which capabilities have replaced.
    pub(super) args: String,
    /// The directories of plugins.
    pub(super) path: Vec<PathBuf>,
    /// `CNI_NETNS_OVERRIDE`: the runtime's own namespace is allowed.
    pub(super) allow_own_netns: bool,
}

/// The commands that require a variable.
const REQUIRED: [(&str, &[Verb]); 4] = [
    ("CNI_CONTAINERID", &[Verb::Add, Verb::Check, Verb::Del]),
    ("CNI_NETNS", &[Verb::Add, Verb::Check]),
    ("CNI_IFNAME", &[Verb::Add, Verb::Check, Verb::Del]),
    ("CNI_PATH", &[Verb::Add, Verb::Check, Verb::Del, Verb::Gc, Verb::Status]),
];

impl Request {
    /// Reads the variables; `variable` returns an empty string for an unset one. Returns `None`
    /// without `CNI_COMMAND`: a person has started the plugin.
    ///
    /// # Errors
    /// A variable is missing or invalid.
    pub(super) fn read(variable: impl Fn(&str) -> String) -> Result<Option<Self>, CniError> {
        let command = variable("CNI_COMMAND");
        if command.is_empty() {
            return Ok(None);
        }
        let verb = verb(&command)?;
        let missing = |(name, verbs): &(&'static str, &[Verb])| {
            (verbs.contains(&verb) && variable(name).is_empty()).then_some(*name)
        };
        let missing: Vec<&str> = REQUIRED.iter().filter_map(missing).collect();
        if !missing.is_empty() {
            let msg = format!("required env variables [{}] missing", missing.join(","));
            return Err(CniError::new(ENVIRONMENT, msg));
        }
        let (container, ifname) = (variable("CNI_CONTAINERID"), variable("CNI_IFNAME"));
        if !container.is_empty() && !is_valid_id(&container) {
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
            allow_own_netns: ["1", "true"]
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

/// Whether `text` is valid as the name of a network or the id of a container.
fn is_valid_id(text: &str) -> bool {
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
    if !is_valid_id(name) {
        let msg = "invalid characters found in network name";
        return Err(CniError::new(CONFIG, msg).with_details(name));
    }
    Ok(())
}

/// Checks an interface name by the kernel's rules: `dev_valid_name` in net/core/dev.c.
fn check_interface(name: &str) -> Result<(), CniError> {
    let wrong = |msg| Err(CniError::new(ENVIRONMENT, msg).with_details(name));
    match name {
        "." | ".." => wrong("interface name is . or .."),
        _ if name.len() > ifname::MAX_LEN => wrong("interface name is too long: 15 bytes at most"),
        _ if name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) => {
            wrong("interface name contains / or : or whitespace characters")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Request>, CniError> {
        Request::read(|name| {
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

    fn with(name: &str, value: &str) -> Result<Option<Request>, CniError> {
        let others = ALL.iter().copied().filter(|(other, _)| *other != name);
        read(&others.chain([(name, value)]).collect::<Vec<_>>())
    }

    #[test]
    fn without_a_command_there_is_no_request() {
        assert_eq!(read(&[]).unwrap(), None);
        let request = read(&ALL).unwrap().unwrap();
        assert_eq!((request.verb, request.container.as_str()), (Verb::Add, "c1"));
        assert_eq!(request.path, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert!(!request.allow_own_netns);
        assert!(with("CNI_NETNS_OVERRIDE", "TRUE").unwrap().unwrap().allow_own_netns);
    }

    #[test]
    fn missing_variables_are_listed_for_each_command() {
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
    fn invalid_values_are_refused() {
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
