//! [`Podman`]: plays the part of Podman and netavark towards the plugin.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use umacvlan_netlink::{IpPrefix, Link, Route, Rtnl};
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::{Daemon, Machine, netns_path};

/// The name of the plugin's file, and so of the driver.
pub(crate) const PLUGIN: &str = "umacvlan-netavark";

/// A machine with the NIC `p0`, a daemon, and a plugin directory.
pub(crate) struct Podman {
    pub(crate) machine: Machine,
    pub(crate) daemon: Daemon,
}

/// A container: a namespace in which only loopback is up.
pub(crate) struct Container {
    pub(crate) netns: Netns,
    pub(crate) rtnl: Rtnl,
}

impl Podman {
    pub(crate) fn new() -> Self {
        let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
        symlink(env!("CARGO_BIN_EXE_umacvlan"), machine.file(PLUGIN)).unwrap();
        let daemon = machine.start(&[]);
        Self { machine, daemon }
    }

    /// Ends the daemon and starts another one.
    pub(crate) fn restart_daemon(&mut self) {
        self.daemon.terminate();
        self.daemon = self.machine.start(&[]);
    }

    /// Calls the plugin.
    pub(crate) fn call(&self, words: &[&str], input: &str) -> Output {
        let mut command = Command::new(self.machine.file(PLUGIN));
        command.args(words).env("UMACVLAN_SOCKET", self.machine.file("socket"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.machine.netns.run(|| command.spawn()).unwrap().unwrap();
        // The plugin does not read its input if it refuses the arguments.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Calls the plugin, which must succeed, and returns its answer: null if it prints nothing.
    pub(crate) fn ok(&self, words: &[&str], input: &Value) -> Value {
        let output = self.call(words, &input.to_string());
        let said = text(&output.stdout);
        assert!(output.status.success(), "{words:?}: {said} {}", text(&output.stderr));
        if said.is_empty() { Value::Null } else { serde_json::from_str(&said).expect(&said) }
    }

    /// Calls the plugin, which must fail, and returns its error message.
    pub(crate) fn refused(&self, words: &[&str], input: &str) -> String {
        error(&self.call(words, input))
    }

    pub(crate) fn setup(&self, container: &Container, request: &Value) -> Value {
        self.ok(&["setup", &container.path()], request)
    }

    pub(crate) fn setup_refused(&self, container: &Container, request: &Value) -> String {
        self.refused(&["setup", &container.path()], &request.to_string())
    }

    pub(crate) fn teardown(&self, container: &Container, request: &Value) {
        assert_eq!(self.ok(&["teardown", &container.path()], request), Value::Null);
    }

    /// Asserts that the daemon has no link.
    pub(crate) fn has_nothing(&self) {
        assert_eq!(self.daemon.links(), [Value::Null; 0]);
    }
}

impl Container {
    pub(crate) fn new() -> Self {
        let netns = Netns::create().unwrap();
        let mut rtnl = Rtnl::open_in(&netns).unwrap();
        let index = rtnl.link("lo").unwrap().unwrap().index;
        rtnl.set_up(index, true).unwrap();
        Self { netns, rtnl }
    }

    pub(crate) fn path(&self) -> String {
        netns_path(&self.netns)
    }

    pub(crate) fn link(&mut self, name: &str) -> Option<Link> {
        self.rtnl.link(name).unwrap()
    }

    /// The names of the container's interfaces.
    pub(crate) fn interfaces(&mut self) -> Vec<String> {
        self.rtnl.links().unwrap().into_iter().map(|link| link.name).collect()
    }

    /// The addresses of an interface, except for IPv6 link-local ones.
    pub(crate) fn addresses(&mut self, name: &str) -> Vec<String> {
        let index = self.link(name).unwrap().index;
        let all = self.rtnl.addresses().unwrap().into_iter();
        let own = all.filter(|address| address.index == index).map(|address| address.at);
        own.map(|at| at.to_string()).filter(|at| !at.starts_with("fe80:")).collect()
    }

    /// The routes of the container's main table with a next hop: `DESTINATION via NEXT-HOP metric
    /// N`.
    pub(crate) fn routes(&mut self) -> Vec<String> {
        let all = self.rtnl.routes().unwrap().into_iter();
        let main = all.filter(|route| route.table == Route::MAIN_TABLE);
        let shown = main.filter_map(|Route { to, via, metric, .. }| {
            Some(format!("{to} via {} metric {}", via?, metric.unwrap_or(0)))
        });
        shown.collect()
    }

    /// Gives the container an interface of that name with an address. It is not a umacvlan link.
    pub(crate) fn add_other(&mut self, name: &str, address: &str) {
        self.rtnl.add_veth(name, "far", None).unwrap();
        let address: IpPrefix = address.parse().unwrap();
        for name in [name, "far"] {
            let index = self.link(name).unwrap().index;
            self.rtnl.set_up(index, true).unwrap();
        }
        let index = self.link(name).unwrap().index;
        self.rtnl.add_address(index, address.ip(), address.prefix_len()).unwrap();
    }

    /// A setting below `/proc/sys/net` of the container.
    pub(crate) fn sysctl(&self, name: &str) -> String {
        let file = PathBuf::from("/proc/sys/net").join(name);
        // The files show the namespace of the thread that opens them.
        let file = self.netns.run(|| File::open(file)).unwrap().unwrap();
        std::io::read_to_string(file).unwrap().trim().to_owned()
    }
}

/// The request that netavark sends for a container with these addresses, in a network with one
/// subnet. `network` and `container` override fields.
pub(crate) fn request(ips: &[&str], network: Value, container: Value) -> Value {
    let mut request = json!({
        "container_id": "someID",
        "container_name": "someName",
        "port_mappings": null,
        "network": {
            "name": "podman",
            "id": "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9",
            "driver": PLUGIN,
            "network_interface": "p0",
            "subnets": [{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}],
            "ipv6_enabled": false,
            "internal": false,
            "dns_enabled": false,
            "ipam_options": {"driver": "host-local"},
        },
        "network_options": {"interface_name": "eth0", "static_ips": ips, "aliases": []},
    });
    for (part, more) in [("network", network), ("network_options", container)] {
        let part = request[part].as_object_mut().unwrap();
        part.extend(more.as_object().cloned().unwrap_or_default());
    }
    request
}

/// The error message of a refused request.
pub(crate) fn error(output: &Output) -> String {
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said} {}", text(&output.stderr));
    let Value::Object(answer) = serde_json::from_str(&said).expect(&said) else { panic!("{said}") };
    assert_eq!(answer.len(), 1, "{said}");
    let error = answer["error"].as_str().unwrap();
    assert!(!error.is_empty() && !error.contains('\n'), "{error:?}");
    error.to_owned()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
