//! The DaemonSet gives its containers what they need: its parts fit together, its script installs
//! the plugin, and a daemon runs with the listed capabilities only.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;
use umacvlan_testkit::{Sandbox, root_or_skip};

use crate::manifests::{daemonset, read};

/// The template of the pods.
fn pod() -> Value {
    daemonset()["spec"]["template"].take()
}

fn containers(pod: &Value) -> Vec<Value> {
    let list = |key: &str| pod["spec"][key].as_array().unwrap().clone();
    [list("initContainers"), list("containers")].concat()
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

#[test]
fn references_between_parts_of_the_daemonset_are_valid() {
    let (set, pod) = (daemonset(), pod());
    let chosen = set["spec"]["selector"]["matchLabels"].as_object().unwrap();
    for (label, value) in chosen {
        assert_eq!(&pod["metadata"]["labels"][label], value);
    }
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    let there: BTreeSet<_> = volumes.iter().map(|volume| volume["name"].as_str()).collect();
    let all = containers(&pod);
    let mounts = all.iter().flat_map(|container| container["volumeMounts"].as_array().unwrap());
    assert_eq!(there, mounts.map(|mount| mount["name"].as_str()).collect());
    let config = volumes.iter().find(|volume| volume["name"] == "config").unwrap();
    let map = read("configmap.yaml").remove(0);
    assert_eq!(config["configMap"]["name"], map["metadata"]["name"]);
    assert_eq!(set["metadata"]["namespace"], map["metadata"]["namespace"]);
}

#[test]
fn the_plugin_is_replaced_atomically_while_the_old_file_is_open() {
    let folder = std::env::temp_dir().join(format!("umv-install-{}", std::process::id()));
    let (image, node) = (folder.join("image"), folder.join("node"));
    for folder in [&image, &node] {
        fs::create_dir_all(folder).unwrap();
    }
    let pod = pod();
    let install = &pod["spec"]["initContainers"][0];
    assert_eq!(install["volumeMounts"][0]["mountPath"], "/host/opt/cni/bin");
    let command: Vec<String> = words(&install["command"])
        .iter()
        .map(|word| word.replace("/usr/libexec/umacvlan", image.to_str().unwrap()))
        .map(|word| word.replace("/host/opt/cni/bin", node.to_str().unwrap()))
        .collect();
    let install = |text: &str| {
        let program = image.join("umacvlan-cni");
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        assert!(Command::new(&command[0]).args(&command[1..]).status().unwrap().success());
    };
    let plugin = node.join("umacvlan-cni");
    install("the old one");
    let mut old = File::open(&plugin).unwrap();
    install("the new one, which is longer");
    let mut text = String::new();
    old.read_to_string(&mut text).unwrap();
    assert_eq!(text, "the old one");
    assert_eq!(fs::read_to_string(&plugin).unwrap(), "the new one, which is longer");
    assert_eq!(fs::metadata(&plugin).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_dir(&node).unwrap().count(), 1, "something is left over");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_daemon_works_with_the_capabilities_it_is_given_and_no_others() {
    if !root_or_skip() {
        return;
    }
    let mut node = Node::new();
    node.start();
    let probe = node.probe();
    node.machine.ok(&probe);

    // This namespace was created after the daemon's mounts.
    node.machine.script("ip netns add blue");
    for (pod, address) in [("red", "192.0.2.1"), ("blue", "192.0.2.2")] {
        node.machine.script(&format!(
            "umacvlan link add link p0 name net1 up netns /run/netns/{pod} type macvlan mode bridge
             ip -n {pod} address add {address}/24 dev net1"
        ));
    }
    node.machine.ok("ip netns exec red ping -c 1 -W 5 192.0.2.2");
    let filter = node.machine.ok("umacvlan -d -j parent show");
    let hidden = cfg!(feature = "af-xdp");
    assert_eq!(!filter.contains("\"host_filter\":\"none\""), hidden, "{filter}");

    node.machine.end_daemon("TERM");
    let dead = node.machine.run(&probe);
    assert_ne!(dead.status, 0, "{dead:?}");
    node.start();
    node.machine.ok("ip netns exec blue ping -c 1 -W 5 192.0.2.1");
    let log = node.machine.ok("cat /run/log");
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

/// The mount propagation, as unshare(1) names it, of the volume with the namespaces.
fn propagation() -> &'static str {
    let container = pod()["spec"]["containers"][0].take();
    let mounts = container["volumeMounts"].as_array().unwrap();
    let netns = mounts.iter().find(|mount| mount["mountPath"] == "/run/netns").unwrap();
    match netns["mountPropagation"].as_str() {
        Some("HostToContainer") => "slave",
        _ => "private",
    }
}

/// A machine with a NIC `p0` and a daemon that is confined like the container of the DaemonSet: a
/// read-only root, a `/run` of its own, and a few capabilities.
struct Node {
    machine: Sandbox,
    capabilities: String,
}

impl Node {
    fn new() -> Self {
        let mut machine = Sandbox::new(env!("CARGO_BIN_EXE_umacvlan"));
        machine.script(
            "mkdir /run/umacvlan
             ip link add p0 type veth peer name q0
             ip link set p0 up
             ip link set q0 up
             ip netns add red",
        );
        let map = read("configmap.yaml").remove(0);
        machine.file("run/umacvlan.toml", map["data"]["umacvlan.toml"].as_str().unwrap());
        let given = pod()["spec"]["containers"][0]["securityContext"]["capabilities"].take();
        assert_eq!(words(&given["drop"]), ["ALL"]);
        let added = words(&given["add"]).into_iter();
        let capabilities =
            added.map(|name| format!(",+{}", name.to_lowercase())).collect::<String>();
        Self { machine, capabilities }
    }

    fn start(&mut self) {
        let command = pod()["spec"]["containers"][0]["command"].take();
        let command = words(&command).join(" ");
        let inside = format!(
            "mount -o remount,ro,bind / && exec {command} --ready-fd 3 --config /run/umacvlan.toml"
        );
        let confined = format!(
            "setpriv --inh-caps -all --bounding-set -all{} \
             unshare --mount --propagation {} sh -c '{inside}'",
            self.capabilities,
            propagation()
        );
        self.machine.ok(&format!(
            "mkfifo -m 600 /run/ready 2>/dev/null; {confined} 3>/run/ready >>/run/log 2>&1 & \
             echo $! >/run/pid; read word </run/ready || {{ cat /run/log >&2; false; }}"
        ));
    }

    /// The liveness probe, which detects a daemon that does not answer.
    fn probe(&self) -> String {
        let container = pod()["spec"]["containers"][0].take();
        let probes = ["startupProbe", "livenessProbe", "readinessProbe"];
        let [first, second, third] =
            probes.map(|probe| container[probe]["exec"]["command"].clone());
        assert!(first == second && second == third);
        words(&first).join(" ")
    }
}
