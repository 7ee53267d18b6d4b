//! Plays a container runtime: it calls the plugins of a network in order, each with the result of
//! the one before, and keeps the last result for later calls.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde_json::{Map, Value, json};
use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::{Machine, netns_path, write_program};

/// The folder of Debian's plugins.
pub(crate) const PLUGINS: &str = "/usr/lib/cni";

/// The plugin under test.
pub(crate) const OURS: &str = "umacvlan-cni";

/// An IPAM plugin that the test controls by files beside it.
pub(crate) const FAKE: &str = "fake-ipam";

const FAKE_SCRIPT: &str = r#"#!/bin/sh
echo "$CNI_COMMAND" >>"$0.log"
if [ "$CNI_COMMAND" = "$(cat "$0.fails" 2>/dev/null)" ]; then
    echo '{"code": 11, "msg": "no addresses left"}'
    exit 1
fi
[ "$CNI_COMMAND" != ADD ] || cat "$0.result"
"#;

/// A list of plugins.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) plugins: Vec<Value>,
}

/// A namespace for an interface.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) netns: Netns,
    pub(crate) path: String,
}

impl Container {
    pub(crate) fn new(id: &str) -> Self {
        let netns = Netns::create().unwrap();
        let path = netns_path(&netns);
        Self { id: id.to_owned(), netns, path }
    }

    pub(crate) fn rtnl(&self) -> Rtnl {
        Rtnl::open_in(&self.netns).unwrap()
    }

    pub(crate) fn interface(&self, name: &str) -> Option<Link> {
        self.rtnl().link(name).unwrap()
    }
}

/// The output of a plugin, and whether it succeeded.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Returns the result, or the error.
    pub(crate) fn outcome(self) -> Result<Value, Value> {
        let value = match self.out.trim() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {self:?}")),
        };
        if self.ok { Ok(value) } else { Err(value) }
    }
}

/// A runtime on a machine.
pub(crate) struct Runtime<'a> {
    machine: &'a Machine,
    /// The folder of the plugin under test and of the IPAM plugin.
    folder: PathBuf,
    /// Pairs of `CNI_ARGS`.
    pub(crate) args: String,
    /// The result of each attachment.
    results: Mutex<HashMap<String, Value>>,
}

impl<'a> Runtime<'a> {
    pub(crate) fn new(machine: &'a Machine) -> Self {
        let folder = machine.file("bin");
        fs::create_dir(&folder).unwrap();
        symlink(env!("CARGO_BIN_EXE_umacvlan"), folder.join(OURS)).unwrap();
        write_program(&folder.join(FAKE), FAKE_SCRIPT);
        Self { machine, folder, args: String::new(), results: Mutex::default() }
    }

    /// Writes a file for the IPAM plugin: `result`, `fails` or `log`.
    pub(crate) fn fake(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{FAKE}.{ending}"))
    }

    /// The calls that the IPAM plugin received, in order.
    pub(crate) fn fake_log(&self) -> String {
        fs::read_to_string(self.fake("log")).unwrap_or_default().replace('\n', " ")
    }

    /// A network of version `version` with our plugin on `p0`, changed by `more`.
    pub(crate) fn network(&self, version: &str, more: Value) -> Network {
        let mut plugin = json!({
            "type": OURS,
            "master": "p0",
            "socket": self.machine.file("socket"),
        });
        plugin.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Network { name: "net".to_owned(), version: version.to_owned(), plugins: vec![plugin] }
    }

    /// IPAM by Debian's host-local plugin, which keeps its leases on the machine.
    pub(crate) fn host_local(&self, subnet: &str) -> Value {
        json!({
            "type": "host-local",
            "ranges": [[{"subnet": subnet}]],
            "dataDir": self.machine.file("addresses"),
        })
    }

    /// The addresses that host-local has leased.
    pub(crate) fn given_away(&self) -> Vec<String> {
        let entries = fs::read_dir(self.machine.file("addresses/net")).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).collect()
    }

    pub(crate) fn add(
        &self,
        network: &Network,
        container: &Container,
        ifname: &str,
        capabilities: Value,
    ) -> Result<Value, Value> {
        let mut result = None;
        for plugin in &network.plugins {
            let config = configured(network, plugin, result.as_ref(), &capabilities);
            result = Some(self.ask("ADD", &config, container, ifname)?);
        }
        let result = result.unwrap();
        self.remember(container, ifname, result.clone());
        Ok(result)
    }

    pub(crate) fn check(
        &self,
        network: &Network,
        container: &Container,
        ifname: &str,
    ) -> Result<(), Value> {
        let result = self.results.lock().unwrap().get(&key(container, ifname)).cloned();
        for plugin in &network.plugins {
            let config = configured(network, plugin, result.as_ref(), &Value::Null);
            self.ask("CHECK", &config, container, ifname)?;
        }
        Ok(())
    }

    pub(crate) fn del(
        &self,
        network: &Network,
        container: &Container,
        ifname: &str,
    ) -> Result<(), Value> {
        let known = !["0.1.0", "0.2.0", "0.3.0", "0.3.1"].contains(&network.version.as_str());
        let result = self.results.lock().unwrap().get(&key(container, ifname)).cloned();
        for plugin in network.plugins.iter().rev() {
            let result = result.as_ref().filter(|_| known);
            let config = configured(network, plugin, result, &Value::Null);
            let said = self.ask("DEL", &config, container, ifname)?;
            assert_eq!(said, Value::Null, "DEL has no result");
        }
        self.results.lock().unwrap().remove(&key(container, ifname));
        Ok(())
    }

    /// The result that an attachment had.
    pub(crate) fn result(&self, container: &Container, ifname: &str) -> Value {
        self.results.lock().unwrap()[&key(container, ifname)].clone()
    }

    /// Stores the result of an attachment.
    pub(crate) fn remember(&self, container: &Container, ifname: &str, result: Value) {
        self.results.lock().unwrap().insert(key(container, ifname), result);
    }

    /// `GC` with the attachments that stay, or `STATUS`.
    pub(crate) fn about(&self, verb: &str, network: &Network, valid: Value) -> Result<(), Value> {
        for plugin in &network.plugins {
            let mut config = configured(network, plugin, None, &Value::Null);
            config["cni.dev/valid-attachments"] = valid.clone();
            let path = self.path();
            let variables = [("CNI_COMMAND", verb), ("CNI_PATH", path.as_str())];
            let kind = plugin["type"].as_str().unwrap();
            self.call(kind, &variables, &config.to_string()).outcome()?;
        }
        Ok(())
    }

    fn ask(
        &self,
        verb: &str,
        config: &Value,
        container: &Container,
        ifname: &str,
    ) -> Result<Value, Value> {
        let path = self.path();
        let variables = [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", container.id.as_str()),
            ("CNI_NETNS", container.path.as_str()),
            ("CNI_IFNAME", ifname),
            ("CNI_ARGS", self.args.as_str()),
            ("CNI_PATH", path.as_str()),
        ];
        let kind = config["type"].as_str().unwrap();
        self.call(kind, &variables, &config.to_string()).outcome()
    }

    /// The search path for plugins.
    pub(crate) fn path(&self) -> String {
        format!("{}:{PLUGINS}", self.folder.display())
    }

    /// Calls a plugin with these environment variables only.
    pub(crate) fn call(&self, kind: &str, variables: &[(&str, &str)], stdin: &str) -> Said {
        let own = self.folder.join(kind);
        let program = if own.exists() { own } else { PathBuf::from(PLUGINS).join(kind) };
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(variables.iter().copied().filter(|(_, value)| !value.is_empty()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.machine.netns.run(|| command.spawn()).unwrap().unwrap();
        // The plugin may fail before it has read all of its input.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { ok: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
    }
}

fn key(container: &Container, ifname: &str) -> String {
    format!("{}/{ifname}", container.id)
}

/// The configuration that a plugin of a network gets.
fn configured(
    network: &Network,
    plugin: &Value,
    result: Option<&Value>,
    capabilities: &Value,
) -> Value {
    let mut config = plugin.clone();
    config["name"] = network.name.clone().into();
    config["cniVersion"] = network.version.clone().into();
    if let Some(result) = result {
        config["prevResult"] = result.clone();
    }
    let has = |name: &String| plugin["capabilities"][name] == true;
    let given = capabilities.as_object().into_iter().flatten();
    let given: Map<_, _> = given
        .filter(|(name, _)| has(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if !given.is_empty() {
        config["runtimeConfig"] = Value::Object(given);
    }
    config
}
