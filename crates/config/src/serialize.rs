//! From [`Config`] to text: in a fixed order, and without default values.

use std::collections::BTreeMap;
use umacvlan_core::options::{LinkPort, PortIo, PortKind};

use serde::Serialize;
use serde_with::skip_serializing_none;
use umacvlan_core::rules::RuleWord;
use umacvlan_core::{MacvlanSettings, Mode};

use super::{Config, DaemonConfig, LinkEntry, OnExit, Settings};

/// The file. Empty tables are left out, except `[docker]`, which enables the driver, and
/// `[parent.NAME]`, which attaches the parent without links.
#[derive(Debug, Serialize)]
struct File<'c> {
    #[serde(skip_serializing_if = "DaemonTable::is_empty")]
    daemon: DaemonTable<'c>,
    #[serde(skip_serializing_if = "Option::is_none")]
    docker: Option<DockerTable<'c>>,
    #[serde(skip_serializing_if = "SettingsTable::is_empty")]
    engine: SettingsTable<'c>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parent: BTreeMap<&'c str, SettingsTable<'c>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    link: BTreeMap<&'c str, LinkTable<'c>>,
}

#[skip_serializing_none]
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct DaemonTable<'c> {
    socket: Option<&'c str>,
    state: Option<&'c str>,
    group: Option<&'c str>,
    admin_group: Option<&'c str>,
    log: Option<&'c str>,
    on_exit: Option<&'static str>,
}

#[skip_serializing_none]
#[derive(Debug, Serialize)]
struct DockerTable<'c> {
    socket: Option<&'c str>,
    state: Option<&'c str>,
}

#[skip_serializing_none]
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct SettingsTable<'c> {
    backend: Option<&'static str>,
    workers: Option<usize>,
    cpus: Option<&'c [usize]>,
    poll: Option<&'static str>,
    semantics: Option<&'static str>,
    io: Option<&'static str>,
    port: Option<&'static str>,
    coalesce: Option<bool>,
    macnat: Option<bool>,
}

#[skip_serializing_none]
#[derive(Debug, Serialize)]
struct LinkTable<'c> {
    parent: &'c str,
    name: Option<&'c str>,
    mode: Option<&'static str>,
    /// The flags that are on.
    #[serde(flatten)]
    flags: BTreeMap<&'static str, bool>,
    #[serde(flatten)]
    limits: BTreeMap<&'static str, String>,
    #[serde(flatten)]
    rules: BTreeMap<&'static str, RuleValues>,
    address: Option<String>,
    macaddr: Option<Vec<String>>,
    netns: Option<&'c str>,
    dhcp: Option<bool>,
    dhcp_client_id: Option<&'c str>,
    dhcp_hostname: Option<&'c str>,
    host: Option<Vec<String>>,
    host_address: Option<Vec<String>>,
    port: Option<&'static str>,
    client: Option<&'c str>,
    dev: Option<&'c str>,
    user: Option<u32>,
    group: Option<u32>,
    mtu: Option<u32>,
    txqueuelen: Option<u32>,
    bcqueuelen: Option<u32>,
    bclim: Option<i32>,
    promisc: Option<bool>,
    allmulticast: Option<bool>,
    alias: Option<&'c str>,
    up: Option<bool>,
}

impl Config {
    /// The text of a file with this content.
    pub fn to_toml(&self) -> String {
        let file = File {
            daemon: DaemonTable::from(&self.daemon),
            docker: self.docker.as_ref().map(|docker| DockerTable {
                socket: docker.socket.as_deref(),
                state: docker.state.as_deref(),
            }),
            engine: SettingsTable::from(&self.engine),
            parent: self.parents.iter().map(|(name, table)| (&**name, table.into())).collect(),
            link: self.links.iter().map(|(name, entry)| (&**name, entry.into())).collect(),
        };
        // Strings, numbers, lists and tables can always be written as TOML.
        toml::to_string(&file).unwrap_or_default()
    }
}

/// The keys of an entry with their values as in the file, but for strings without quotes.
pub(crate) fn link_keys(entry: &LinkEntry) -> impl Iterator<Item = (String, String)> {
    // As above.
    let table = toml::Table::try_from(LinkTable::from(entry)).unwrap_or_default();
    table.into_iter().map(|(key, value)| match value {
        toml::Value::String(text) => (key, text),
        other => (key, other.to_string()),
    })
}

impl DaemonTable<'_> {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl SettingsTable<'_> {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl<'c> From<&'c DaemonConfig> for DaemonTable<'c> {
    fn from(config: &'c DaemonConfig) -> Self {
        let DaemonConfig { socket, state, group, admin_group, log, on_exit } = config;
        Self {
            socket: socket.as_deref(),
            state: state.as_deref(),
            group: group.as_deref(),
            admin_group: admin_group.as_deref(),
            log: log.as_deref(),
            on_exit: unless(*on_exit == OnExit::default(), on_exit.name()),
        }
    }
}

impl<'c> From<&'c Settings> for SettingsTable<'c> {
    fn from(settings: &'c Settings) -> Self {
        let Settings { backend, workers, cpus, poll, semantics, io, port, coalesce, macnat } =
            settings;
        Self {
            backend: backend.map(super::Backend::name),
            workers: *workers,
            cpus: cpus.as_deref(),
            poll: poll.map(umacvlan_core::options::PollMode::name),
            semantics: semantics.map(umacvlan_core::Semantics::name),
            io: io.map(PortIo::name),
            port: port.map(PortKind::name),
            coalesce: *coalesce,
            macnat: *macnat,
        }
    }
}

impl<'c> From<&'c LinkEntry> for LinkTable<'c> {
    fn from(entry: &'c LinkEntry) -> Self {
        let spec = &entry.spec;
        let dhcp = spec.dhcp.as_ref();
        let MacvlanSettings { mode, flags, bcqueuelen, bclim, limits, rules, sources } =
            &spec.settings;
        Self {
            parent: &spec.parent,
            name: entry.name.as_deref(),
            mode: unless(*mode == Mode::default(), mode.name()),
            flags: flags.iter().map(|flag| (flag.name(), true)).collect(),
            limits: limits.words().collect(),
            rules: rules.words().map(RuleValues::entry).collect(),
            address: spec.address.map(|address| address.to_string()),
            macaddr: unless(sources.is_empty(), words(sources)),
            netns: spec.netns.as_deref(),
            dhcp: dhcp.map(|_| true),
            dhcp_client_id: dhcp.and_then(|dhcp| dhcp.client_id.as_deref()),
            dhcp_hostname: dhcp.and_then(|dhcp| dhcp.hostname.as_deref()),
            host: unless(spec.host.to.is_empty(), words(&spec.host.to)),
            host_address: unless(spec.host.from.is_empty(), words(&spec.host.from)),
            port: spec.link_port().map(LinkPort::name),
            client: spec.client.as_deref(),
            dev: spec.dev.as_deref(),
            user: spec.user,
            group: spec.group,
            mtu: spec.mtu,
            txqueuelen: spec.txqueuelen,
            bcqueuelen: *bcqueuelen,
            bclim: *bclim,
            promisc: unless(!spec.promisc, true),
            allmulticast: unless(!spec.allmulticast, true),
            alias: spec.alias.as_deref(),
            up: spec.up.filter(|up| !up),
        }
    }
}

fn words<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// `value`, unless it is the default.
fn unless<T>(default: bool, value: T) -> Option<T> {
    (!default).then_some(value)
}

/// The values of a rule: a list, or the group.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum RuleValues {
    List(Vec<String>),
    Group(String),
}

impl RuleValues {
    fn entry((word, mut values): (RuleWord, Vec<String>)) -> (&'static str, Self) {
        let values = match word.is_list() {
            true => Self::List(values),
            false => Self::Group(values.pop().unwrap_or_default()),
        };
        (word.name(), values)
    }
}
