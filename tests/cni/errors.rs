//! Errors: the messages are those of the reference plugin where it has them, and the codes are more
//! specific than its 999.

use serde_json::{Value, json};
use umacvlan_testkit::{Machine, root_or_skip};

use crate::runtime::{Container, OURS, Runtime, Said};
use crate::world::{plugins_or_skip, told};

/// A call with one mistake.
struct Wrong {
    /// The variable and its value; empty removes it.
    variable: (&'static str, &'static str),
    /// The change to the configuration.
    config: Value,
    /// Our error code and the reference plugin's; `None` where that succeeds.
    codes: (u64, Option<u64>),
    /// The message of both plugins, or ours where the reference plugin's differs.
    words: &'static str,
    alike: bool,
}

fn wrong(config: Value, codes: (u64, Option<u64>), words: &'static str) -> Wrong {
    Wrong { variable: ("", ""), config, codes, words, alike: true }
}

fn variable(name: &'static str, value: &'static str, words: &'static str) -> Wrong {
    let codes = (4, Some(4));
    Wrong { variable: (name, value), config: json!({}), codes, words, alike: true }
}

fn cases() -> Vec<Wrong> {
    let own = |wrong: Wrong| Wrong { alike: false, ..wrong };
    vec![
        variable("CNI_COMMAND", "FROB", "unknown CNI_COMMAND: FROB"),
        variable("CNI_CONTAINERID", "", "required env variables [CNI_CONTAINERID] missing"),
        variable("CNI_NETNS", "", "required env variables [CNI_NETNS] missing"),
        variable("CNI_IFNAME", "", "required env variables [CNI_IFNAME] missing"),
        variable("CNI_PATH", "", "required env variables [CNI_PATH] missing"),
        variable("CNI_CONTAINERID", "../x", "invalid characters in containerID"),
        variable("CNI_IFNAME", "..", "interface name is . or .."),
        Wrong {
            codes: (4, Some(999)),
            ..variable("CNI_ARGS", "IP=10.0.0.1", "ARGS: unknown args [\"IP=10.0.0.1\"]")
        },
        own(Wrong {
            codes: (8, Some(999)),
            ..variable("CNI_NETNS", "/nowhere", "failed to open netns \"/nowhere\"")
        }),
        wrong(json!({"name": ""}), (7, Some(7)), "missing network name"),
        wrong(json!({"name": "a/b"}), (7, Some(7)), "invalid characters found in network name"),
        wrong(json!({"cniVersion": "9.9.9"}), (1, Some(1)), "incompatible CNI versions"),
        wrong(json!({"mode": "loud"}), (7, Some(999)), "unknown macvlan mode: \"loud\""),
        wrong(
            json!({"mtu": 9000}),
            (7, Some(999)),
            "invalid MTU 9000, must be [0, master MTU(1500)]",
        ),
        wrong(json!({"mtu": -1}), (7, Some(999)), "invalid MTU -1, must be [0, master MTU(1500)]"),
        wrong(json!({"master": ""}), (7, Some(999)), "no default route interface found"),
        own(wrong(json!({"mac": "x"}), (7, Some(999)), "invalid args x for MAC addr")),
        own(wrong(json!({"master": "nope"}), (7, Some(999)), "nope")),
        own(wrong(json!({"mac": "01:00:5e:00:00:01"}), (100, Some(999)), "01:00:5e:00:00:01")),
        own(wrong(
            json!({"ipam": {"type": "nope"}}),
            (7, Some(999)),
            "failed to find plugin \"nope\" in path",
        )),
        own(wrong(
            json!({"linkInContainer": true}),
            (2, None),
            "unsupported field linkInContainer",
        )),
    ]
}

/// Calls a plugin with the mistake of a case.
fn call(runtime: &Runtime<'_>, plugin: &str, container: &Container, case: &Wrong) -> Said {
    let network = runtime.network("1.0.0", json!({}));
    let mut config = network.plugins[0].clone();
    config["name"] = "net".into();
    config["cniVersion"] = "1.0.0".into();
    config["type"] = plugin.into();
    config.as_object_mut().unwrap().extend(case.config.as_object().unwrap().clone());
    let path = runtime.path();
    let variables = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", container.path.as_str()),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", path.as_str()),
        ("CNI_ARGS", ""),
    ];
    let (name, value) = case.variable;
    let variables = variables.map(|(other, had)| (other, if other == name { value } else { had }));
    runtime.call(plugin, &variables, &config.to_string())
}

#[test]
fn errors_have_specific_codes_and_the_reference_plugins_words() {
    if !plugins_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&[]);
    let runtime = Runtime::new(&machine);
    let container = Container::new("c1");
    for case in cases() {
        let (code, reference) = case.codes;
        let (ours, msg) = told(&call(&runtime, OURS, &container, &case).outcome().unwrap_err());
        assert_eq!(ours, code, "{msg}");
        assert!(msg.contains(case.words), "{msg}");
        assert!(container.interface("eth0").is_none(), "left behind: {msg}");
        let Some(reference) = reference else { continue };
        // A new container, because the reference plugin leaves something behind.
        let container = Container::new("c1");
        let (theirs, said) =
            told(&call(&runtime, "macvlan", &container, &case).outcome().unwrap_err());
        assert_eq!(theirs, reference, "{said}");
        assert!(!case.alike || said == msg, "ours: {msg}, the reference plugin's: {said}");
    }
    assert!(daemon.links().is_empty());
}

#[test]
fn an_address_in_use_is_refused() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&[]);
    let parents = machine.interface("p0").unwrap().mac.unwrap().to_string();
    let runtime = Runtime::new(&machine);
    let with = |mac: &str| runtime.network("1.0.0", json!({"mac": mac}));
    let (one, two) = (Container::new("c1"), Container::new("c2"));
    let taken = "02:00:00:00:00:09";
    runtime.add(&with(taken), &one, "eth0", Value::Null).unwrap();
    for mac in [taken, parents.as_str()] {
        let refused = runtime.add(&with(mac), &two, "eth0", Value::Null).unwrap_err();
        let (code, msg) = told(&refused);
        assert!(code == 100 && msg.contains("address already in use"), "{msg}");
        assert!(two.interface("eth0").is_none());
    }
    assert!(one.interface("eth0").unwrap().is_up() && daemon.links().len() == 1);
    runtime.del(&with(taken), &one, "eth0").unwrap();
    runtime.add(&with(taken), &two, "eth0", Value::Null).unwrap();
}

#[test]
fn an_invalid_configuration_is_an_error() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let runtime = Runtime::new(&machine);
    let variables = [("CNI_COMMAND", "STATUS"), ("CNI_PATH", "/")];
    for text in ["", "{", "[]", "null", "\u{0}", "{\"name\": 1}"] {
        let error = runtime.call(OURS, &variables, text).outcome().unwrap_err();
        assert_eq!(told(&error).0, 6, "{text:?}: {error}");
    }
}

#[test]
fn the_plugin_reports_its_versions_and_its_purpose() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let runtime = Runtime::new(&machine);
    let versions = runtime.call(OURS, &[("CNI_COMMAND", "VERSION")], "").outcome().unwrap();
    assert_eq!(versions["cniVersion"], "1.1.0");
    let all = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
    assert_eq!(versions["supportedVersions"], json!(all));
    let said = runtime.call(OURS, &[], "");
    assert!(said.ok && said.out.is_empty(), "{said:?}");
    assert!(said.err.starts_with("CNI plugin umacvlan-cni v"), "{said:?}");
}

#[test]
fn features_missing_from_a_version_are_refused() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let runtime = Runtime::new(&machine);
    let container = Container::new("c1");
    let (old, middle) = (runtime.network("0.3.1", json!({})), runtime.network("1.0.0", json!({})));
    let check = runtime.check(&old, &container, "eth0").unwrap_err();
    assert_eq!(told(&check), (1, "config version does not allow CHECK".to_owned()));
    for verb in ["GC", "STATUS"] {
        let error = runtime.about(verb, &middle, json!([])).unwrap_err();
        assert_eq!(told(&error), (1, format!("config version does not allow {verb}")));
    }
    // The first versions of the specification cannot express a result without an address.
    let first = runtime.network("0.2.0", json!({}));
    let error = runtime.add(&first, &container, "eth0", Value::Null).unwrap_err();
    assert_eq!(told(&error), (7, "cannot convert: no valid IP addresses".to_owned()));
}
