//! From text to [`Config`], or all errors in it.

use std::fs;
use std::ops::Range;
use std::str;
use umacvlan_core::options::{Backend, LinkPort, PollMode, PortIo, PortKind, WORKERS_MAX};

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use umacvlan_core::limit::{LimitWord, Limits, LimitsChange};
use umacvlan_core::rules::{RuleWord, Rules};
use umacvlan_core::switch::MIN_MTU;
use umacvlan_core::{MacAddr, MacvlanFlag, MacvlanSettings, Mode, Semantics};

use super::diagnostic::{Diagnostic, Diagnostics, LoadError};
use super::file;
use super::needs::{self, Need};
use super::table::{Spans, Table};
use super::{Config, DaemonConfig, DockerConfig, LinkEntry, OnExit, Settings, validate, values};
use umacvlan_api::{Dhcp, HostAccess, LinkSpec};

/// The largest MTU of an Ethernet interface, in bytes (`ETH_MAX_MTU` of `if_ether.h`).
const MAX_MTU: u32 = 65535;

/// A valid configuration, and warnings about it.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The configuration.
    pub config: Config,
    /// Values that are allowed but unlikely to be meant.
    pub warnings: Diagnostics,
    /// What has to be there on the machine, with its place.
    pub(super) needs: Vec<(Need, Range<usize>)>,
}

/// An entry of a link, and the places of its values in the file.
#[derive(Debug)]
pub(super) struct ParsedLink {
    pub(super) key: String,
    pub(super) entry: LinkEntry,
    /// The mode; `None` if the file has an invalid one.
    pub(super) mode: Option<Mode>,
    /// The source list in the order of the file.
    pub(super) macaddr: Vec<Spanned<MacAddr>>,
    pub(super) spans: Spans,
}

impl Config {
    /// Reads a file. A CPU that is not in `cpus`, the CPUs that the daemon may run on, is a
    /// warning.
    ///
    /// # Errors
    /// The file cannot be read, or has errors.
    pub fn load(file: &str, cpus: &[usize]) -> Result<Parsed, LoadError> {
        let bytes = fs::File::open(file).and_then(file::read);
        let bytes = bytes.map_err(|source| LoadError::Read { file: file.to_owned(), source })?;
        Self::from_bytes(file, &bytes, cpus).map_err(LoadError::Wrong)
    }

    /// Parses the content of a file, as [`parse`](Self::parse) does.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), or the content is not UTF-8.
    pub fn from_bytes(file: &str, bytes: &[u8], cpus: &[usize]) -> Result<Parsed, Diagnostics> {
        match str::from_utf8(bytes) {
            Ok(text) => Self::parse(file, text, cpus),
            Err(error) => Err(not_utf8(file, bytes, error.valid_up_to())),
        }
    }

    /// Parses `text`, which messages call `file`. A CPU that is not in `cpus`, the CPUs that the
    /// daemon may run on, is a warning.
    ///
    /// # Errors
    /// All errors in the text; if it is not TOML, the first syntax error only.
    pub fn parse(file: &str, text: &str, cpus: &[usize]) -> Result<Parsed, Diagnostics> {
        let root = DeTable::parse(text).map_err(|error| {
            let message = error.message().replace('\n', ", ");
            let span = error.span().unwrap_or(0..0);
            Diagnostics::new(file, text, vec![Diagnostic { span, message }])
        })?;
        let mut diagnostics = Vec::new();
        let mut warnings = Vec::new();
        let root = Table::of("the file".to_owned(), 0..0, root.get_ref());
        let mut needs = Vec::new();
        let mut reader = Reader {
            diagnostics: &mut diagnostics,
            warnings: &mut warnings,
            needs: &mut needs,
            cpus,
        };
        let (config, links) = reader.file(root);
        validate::check(&links, reader.diagnostics);
        if diagnostics.is_empty() {
            Ok(Parsed { config, warnings: Diagnostics::new(file, text, warnings), needs })
        } else {
            Err(Diagnostics::new(file, text, diagnostics))
        }
    }
}

fn not_utf8(file: &str, bytes: &[u8], valid: usize) -> Diagnostics {
    let text = String::from_utf8_lossy(bytes);
    let message = "this is no UTF-8, expected text in that encoding".to_owned();
    Diagnostics::new(file, &text, vec![Diagnostic { span: valid..valid + 1, message }])
}

struct Reader<'m> {
    diagnostics: &'m mut Vec<Diagnostic>,
    warnings: &'m mut Vec<Diagnostic>,
    needs: &'m mut Vec<(Need, Range<usize>)>,
    cpus: &'m [usize],
}

impl Reader<'_> {
    fn file(&mut self, mut root: Table<'_>) -> (Config, Vec<ParsedLink>) {
        let mut config = Config::default();
        if let Some(table) = root.table("daemon", self.diagnostics) {
            config.daemon = self.daemon(table);
        }
        if let Some(mut table) = root.table("docker", self.diagnostics) {
            let found = &mut *self.diagnostics;
            config.docker = Some(DockerConfig {
                socket: table.take("socket", found, values::path),
                state: table.take("state", found, values::path),
            });
            table.finish(found);
        }
        if let Some(table) = root.table("engine", self.diagnostics) {
            config.engine = self.settings(table);
        }
        for (name, table) in root.tables("parent", self.diagnostics) {
            self.check_interface_name(name.get_ref(), name.span());
            config.parents.insert(name.get_ref().to_string(), self.settings(table));
        }
        let mut links = Vec::new();
        for (name, table) in root.tables("link", self.diagnostics) {
            let placed = self.link(name.get_ref(), name.span(), table);
            self.needs.extend(needs::of_link(&placed));
            config.links.insert(placed.key.clone(), placed.entry.clone());
            links.push(placed);
        }
        root.finish(self.diagnostics);
        (config, links)
    }

    fn daemon(&mut self, mut table: Table<'_>) -> DaemonConfig {
        let group =
            |value: &DeValue<'_>| values::text_or_number(value, "the name or number of a group");
        let on_exit = [OnExit::Keep, OnExit::Remove].map(|choice| (choice.name(), choice));
        let found = &mut *self.diagnostics;
        let config = DaemonConfig {
            socket: table.take("socket", found, values::path),
            state: table.take("state", found, values::path),
            group: table.take("group", found, group),
            admin_group: table.take("admin_group", found, group),
            log: table.take("log", found, values::log),
            on_exit: table
                .take("on_exit", found, |value| values::choice(value, &on_exit))
                .unwrap_or_default(),
        };
        let spans = table.finish(found);
        for (key, group) in [("group", &config.group), ("admin_group", &config.admin_group)] {
            let need = group.clone().map(|group| (Need::Group(group), spans.of(key)));
            self.needs.extend(need);
        }
        config
    }

    fn settings(&mut self, mut table: Table<'_>) -> Settings {
        let backends = Backend::ALL.map(|choice| (choice.name(), choice));
        let polls = PollMode::ALL.map(|choice| (choice.name(), choice));
        let semantics = Semantics::ALL.map(|choice| (choice.name(), choice));
        let ios = [PortIo::Auto, PortIo::Plain, PortIo::Uring]
            .map(|choice| (PortIo::name(choice), choice));
        let interfaces = PortKind::ALL.map(|choice| (choice.name(), choice));
        let workers_max = WORKERS_MAX;
        let found = &mut *self.diagnostics;
        let settings = Settings {
            backend: table.take("backend", found, |value| values::choice(value, &backends)),
            poll: table.take("poll", found, |value| values::choice(value, &polls)),
            semantics: table.take("semantics", found, |value| values::choice(value, &semantics)),
            io: table.take("io", found, |value| values::choice(value, &ios)),
            port: table.take("port", found, |value| values::choice(value, &interfaces)),
            coalesce: table.take("coalesce", found, values::switch),
            macnat: table.take("macnat", found, values::switch),
            workers: table
                .take("workers", found, |value| values::number(value, 1..=workers_max))
                .map(usize::from),
            cpus: self.cpus(&mut table),
        };
        let spans = table.finish(self.diagnostics);
        if let Some(workers) = settings.workers
            && workers > self.cpus.len()
        {
            let message =
                format!("workers: {workers} of them would share {} CPUs", self.cpus.len());
            self.warnings.push(Diagnostic { span: spans.of("workers"), message });
        }
        settings
    }

    /// `cpus = [1, 2]`: each CPU at most once, and each one that exists.
    fn cpus(&mut self, table: &mut Table<'_>) -> Option<Vec<usize>> {
        let read = |value: &DeValue<'_>| values::number(value, 0..=u16::MAX);
        let cpus =
            table.take_list("cpus", "a list of CPUs, as in [1, 2]", self.diagnostics, read)?;
        let mut seen = Vec::new();
        for cpu in cpus {
            let (span, cpu) = (cpu.span(), usize::from(*cpu.get_ref()));
            if seen.contains(&cpu) {
                let message = format!("cpus: {cpu} is given twice, expected each CPU once");
                self.diagnostics.push(Diagnostic { span, message });
                continue;
            }
            if !self.cpus.contains(&cpu) {
                let there = umacvlan_text::format::ranges(self.cpus);
                let message = format!(
                    "cpus: this machine has no CPU {cpu} that may be used, expected some of {there}"
                );
                self.warnings.push(Diagnostic { span, message });
            }
            seen.push(cpu);
        }
        Some(seen)
    }

    fn link(&mut self, key: &str, span: Range<usize>, mut table: Table<'_>) -> ParsedLink {
        let found = &mut *self.diagnostics;
        let modes = Mode::ALL.map(|mode| (mode.name(), mode));
        let ports = LinkPort::ALL.map(|kind| (kind.name(), kind));
        let alias = |value: &DeValue<'_>| values::text(value, "some text in quotes");
        let name = table.take("name", found, values::interface_name_of);
        let parent = table.take("parent", found, values::interface_name_of);
        table.require("parent", "\"INTERFACE\"", found);
        let expected = "a list of addresses, as in [\"02:00:5e:10:00:01\"]";
        let macaddr = table.take_list("macaddr", expected, found, values::unicast_mac);
        let mode = table.take("mode", found, |value| values::choice(value, &modes));
        let expected = "a list of IP addresses, as in [\"192.0.2.5\"]";
        let to = table.take_list("host", expected, found, values::destination);
        let from = table.take_list("host_address", expected, found, values::ip_address);
        let word = |value: &DeValue<'_>| values::text(value, "some text in quotes");
        let dhcp = table.take("dhcp", found, values::switch);
        let who = Dhcp {
            client_id: table.take("dhcp_client_id", found, word),
            hostname: table.take("dhcp_hostname", found, word),
        };
        let mut spec = LinkSpec {
            parent: parent.unwrap_or_default(),
            address: table.take("address", found, values::unicast_mac),
            alias: table.take("alias", found, alias),
            allmulticast: table.take("allmulticast", found, values::switch).unwrap_or_default(),
            dhcp: dhcp.unwrap_or_default().then_some(who),
            host: HostAccess {
                to: to.iter().flatten().map(|to| *to.get_ref()).collect(),
                from: from.iter().flatten().map(|from| *from.get_ref()).collect(),
            },
            settings: MacvlanSettings {
                mode: mode.unwrap_or_default(),
                flags: MacvlanFlag::ALL
                    .into_iter()
                    .filter(|flag| table.take(flag.name(), found, values::switch) == Some(true))
                    .collect(),
                bcqueuelen: table.take("bcqueuelen", found, |v| values::number(v, 0..=u32::MAX)),
                bclim: table.take("bclim", found, |v| values::number(v, i32::MIN..=i32::MAX)),
                limits: limits(&mut table, found),
                rules: rules(&mut table, found),
                sources: macaddr.iter().flatten().map(|address| *address.get_ref()).collect(),
            },
            // It is a setting of the parent in a file.
            macnat: false,
            mtu: table.take("mtu", found, |v| values::number(v, MIN_MTU..=MAX_MTU)),
            netns: table.take("netns", found, values::namespace),
            interface: None,
            port: None,
            client: table.take("client", found, values::socket),
            dev: table.take("dev", found, values::interface_name_of),
            user: table.take("user", found, |v| values::number(v, 0..=u32::MAX)),
            group: table.take("group", found, |v| values::number(v, 0..=u32::MAX)),
            promisc: table.take("promisc", found, values::switch).unwrap_or_default(),
            txqueuelen: table.take("txqueuelen", found, |v| values::number(v, 0..=u32::MAX)),
            up: Some(table.take("up", found, values::switch).unwrap_or(true)),
        };
        spec.set_port(table.take("port", found, |value| values::choice(value, &ports)));
        spec.settings.sources.sort_unstable();
        spec.settings.sources.dedup();
        let spans = table.finish(found);
        // With `name`, the entry key is not the name of an interface and may be any text.
        if !spans.has("name") {
            self.check_interface_name(key, span);
        }
        let mode = if spans.has("mode") { mode } else { Some(Mode::default()) };
        let entry = LinkEntry { name: name.filter(|name| name != key), spec };
        let macaddr = macaddr.unwrap_or_default();
        ParsedLink { key: key.to_owned(), entry, mode, macaddr, spans }
    }

    fn check_interface_name(&mut self, name: &str, span: Range<usize>) {
        if let Err(message) = values::interface_name(name) {
            self.diagnostics.push(Diagnostic { span, message });
        }
    }
}

/// The limits among the keys of a link.
fn limits(table: &mut Table<'_>, found: &mut Vec<Diagnostic>) -> Limits {
    let mut change = LimitsChange::default();
    for word in LimitWord::ALL {
        let value = table.take(word.name, found, |value| values::limit(value, &word));
        if let Some(value) = value {
            // It was parsed before.
            let _ = change.set(word.name, &value);
        }
    }
    change.apply(Limits::default())
}

/// The rules among the keys of a link.
fn rules(table: &mut Table<'_>, found: &mut Vec<Diagnostic>) -> Rules {
    let mut rules = Rules::default();
    for word in RuleWord::ALL {
        if let Some(read) = table.take(word.name(), found, |value| values::rule(value, word)) {
            // Both were read before.
            rules = read.apply(rules).unwrap_or_default();
        }
    }
    rules
}
