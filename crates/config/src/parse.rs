//! From text to [`Config`], or everything that is wrong with it.

use std::fs;
use std::ops::Range;
use std::str;
use umacvlan_core::options::{Backend, PollMode, PortIo, WORKERS_MAX};

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use umacvlan_core::switch::MIN_MTU;
use umacvlan_core::{MacAddr, MacvlanFlag, MacvlanSettings, Mode, Semantics};

use super::file;
use super::mistake::{LoadError, Mistake, Mistakes};
use super::table::{Spans, Table};
use super::{Config, DaemonConfig, DockerConfig, LinkEntry, OnExit, Settings, rules, values};
use umacvlan_api::LinkSpec;

/// The largest MTU of an Ethernet interface, in bytes (`ETH_MAX_MTU` of `if_ether.h`).
const MAX_MTU: u32 = 65535;

/// A configuration, and what is doubtful about it.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub config: Config,
    /// What works, but hardly as it was meant.
    pub warnings: Mistakes,
}

/// A link of the file, and where its values stand.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) wish: String,
    pub(super) entry: LinkEntry,
    /// Its mode, if what the file says is one.
    pub(super) mode: Option<Mode>,
    /// Its source list as the file has it.
    pub(super) macaddr: Vec<Spanned<MacAddr>>,
    pub(super) spans: Spans,
}

impl Config {
    /// Reads a file. `cpus` are those that its user may run on: others that it names are doubtful.
    ///
    /// # Errors
    /// It cannot be read, or something is wrong with it.
    pub fn load(file: &str, cpus: &[usize]) -> Result<Parsed, LoadError> {
        let bytes = fs::File::open(file).and_then(file::read);
        let bytes = bytes.map_err(|source| LoadError::Read { file: file.to_owned(), source })?;
        Self::from_bytes(file, &bytes, cpus).map_err(LoadError::Wrong)
    }

    /// Reads what is in a file, as [`parse`](Self::parse) does.
    ///
    /// # Errors
    /// As of [`parse`](Self::parse), and that it is no UTF-8.
    pub fn from_bytes(file: &str, bytes: &[u8], cpus: &[usize]) -> Result<Parsed, Mistakes> {
        match str::from_utf8(bytes) {
            Ok(text) => Self::parse(file, text, cpus),
            Err(error) => Err(not_utf8(file, bytes, error.valid_up_to())),
        }
    }

    /// Reads `text`, which is called `file` in messages. `cpus` are those that its user may run
    /// on: others that it names are doubtful.
    ///
    /// # Errors
    /// Everything that is wrong with it; of what is no TOML, the first.
    pub fn parse(file: &str, text: &str, cpus: &[usize]) -> Result<Parsed, Mistakes> {
        let root = DeTable::parse(text).map_err(|error| {
            let message = error.message().replace('\n', ", ");
            let span = error.span().unwrap_or(0..0);
            Mistakes::new(file, text, vec![Mistake { span, message }])
        })?;
        let mut mistakes = Vec::new();
        let mut warnings = Vec::new();
        let root = Table::of("the file".to_owned(), 0..0, root.get_ref());
        let mut reader = Reader { mistakes: &mut mistakes, warnings: &mut warnings, cpus };
        let (config, links) = reader.file(root);
        rules::check(&links, reader.mistakes);
        if mistakes.is_empty() {
            Ok(Parsed { config, warnings: Mistakes::new(file, text, warnings) })
        } else {
            Err(Mistakes::new(file, text, mistakes))
        }
    }
}

fn not_utf8(file: &str, bytes: &[u8], valid: usize) -> Mistakes {
    let text = String::from_utf8_lossy(bytes);
    let message = "this is no UTF-8, expected text in that encoding".to_owned();
    Mistakes::new(file, &text, vec![Mistake { span: valid..valid + 1, message }])
}

struct Reader<'m> {
    mistakes: &'m mut Vec<Mistake>,
    warnings: &'m mut Vec<Mistake>,
    cpus: &'m [usize],
}

impl Reader<'_> {
    fn file(&mut self, mut root: Table<'_>) -> (Config, Vec<Placed>) {
        let mut config = Config::default();
        if let Some(table) = root.table("daemon", self.mistakes) {
            config.daemon = self.daemon(table);
        }
        if let Some(mut table) = root.table("docker", self.mistakes) {
            let found = &mut *self.mistakes;
            config.docker = Some(DockerConfig {
                socket: table.take("socket", found, values::path),
                state: table.take("state", found, values::path),
            });
            table.finish(found);
        }
        if let Some(table) = root.table("engine", self.mistakes) {
            config.engine = self.settings(table);
        }
        for (name, table) in root.tables("parent", self.mistakes) {
            self.interface(name.get_ref(), name.span());
            config.parents.insert(name.get_ref().to_string(), self.settings(table));
        }
        let mut links = Vec::new();
        for (name, table) in root.tables("link", self.mistakes) {
            let placed = self.link(name.get_ref(), name.span(), table);
            config.links.insert(placed.wish.clone(), placed.entry.clone());
            links.push(placed);
        }
        root.finish(self.mistakes);
        (config, links)
    }

    fn daemon(&mut self, mut table: Table<'_>) -> DaemonConfig {
        let group =
            |value: &DeValue<'_>| values::text_or_number(value, "the name or number of a group");
        let on_exit = [OnExit::Keep, OnExit::Remove].map(|choice| (choice.name(), choice));
        let found = &mut *self.mistakes;
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
        table.finish(found);
        config
    }

    fn settings(&mut self, mut table: Table<'_>) -> Settings {
        let backends = Backend::ALL.map(|choice| (choice.name(), choice));
        let polls = PollMode::ALL.map(|choice| (choice.name(), choice));
        let semantics =
            [Semantics::Documented, Semantics::Kernel].map(|choice| (choice.name(), choice));
        let ios = [PortIo::Auto, PortIo::Plain, PortIo::Uring]
            .map(|choice| (PortIo::name(choice), choice));
        let workers_max = WORKERS_MAX;
        let found = &mut *self.mistakes;
        let settings = Settings {
            backend: table.take("backend", found, |value| values::choice(value, &backends)),
            poll: table.take("poll", found, |value| values::choice(value, &polls)),
            semantics: table.take("semantics", found, |value| values::choice(value, &semantics)),
            io: table.take("io", found, |value| values::choice(value, &ios)),
            coalesce: table.take("coalesce", found, values::switch),
            workers: table
                .take("workers", found, |value| values::number(value, 1..=workers_max))
                .map(usize::from),
            cpus: self.cpus(&mut table),
        };
        let spans = table.finish(self.mistakes);
        if let Some(workers) = settings.workers
            && workers > self.cpus.len()
        {
            let message =
                format!("workers: {workers} of them would share {} CPUs", self.cpus.len());
            self.warnings.push(Mistake { span: spans.of("workers"), message });
        }
        settings
    }

    /// `cpus = [1, 2]`: each at most once, and each a CPU that is there.
    fn cpus(&mut self, table: &mut Table<'_>) -> Option<Vec<usize>> {
        let read = |value: &DeValue<'_>| values::number(value, 0..=u16::MAX);
        let cpus = table.take_list("cpus", "a list of CPUs, as in [1, 2]", self.mistakes, read)?;
        let mut seen = Vec::new();
        for cpu in cpus {
            let (span, cpu) = (cpu.span(), usize::from(*cpu.get_ref()));
            if seen.contains(&cpu) {
                let message = format!("cpus: {cpu} is given twice, expected each CPU once");
                self.mistakes.push(Mistake { span, message });
                continue;
            }
            if !self.cpus.contains(&cpu) {
                let there = umacvlan_text::format::ranges(self.cpus);
                let message = format!(
                    "cpus: this machine has no CPU {cpu} that may be used, expected some of {there}"
                );
                self.warnings.push(Mistake { span, message });
            }
            seen.push(cpu);
        }
        Some(seen)
    }

    fn link(&mut self, wish: &str, span: Range<usize>, mut table: Table<'_>) -> Placed {
        let found = &mut *self.mistakes;
        let modes = Mode::ALL.map(|mode| (mode.name(), mode));
        let alias = |value: &DeValue<'_>| values::text(value, "some text in quotes");
        let name = table.take("name", found, values::interface);
        let parent = table.take("parent", found, values::interface);
        table.require("parent", "\"INTERFACE\"", found);
        let stations = "a list of addresses, as in [\"02:00:5e:10:00:01\"]";
        let macaddr = table.take_list("macaddr", stations, found, values::station);
        let mode = table.take("mode", found, |value| values::choice(value, &modes));
        let mut spec = LinkSpec {
            parent: parent.unwrap_or_default(),
            address: table.take("address", found, values::station),
            alias: table.take("alias", found, alias),
            allmulticast: table.take("allmulticast", found, values::switch).unwrap_or_default(),
            settings: MacvlanSettings {
                mode: mode.unwrap_or_default(),
                flags: MacvlanFlag::ALL
                    .into_iter()
                    .filter(|flag| table.take(flag.name(), found, values::switch) == Some(true))
                    .collect(),
                bcqueuelen: table.take("bcqueuelen", found, |v| values::number(v, 0..=u32::MAX)),
                bclim: table.take("bclim", found, |v| values::number(v, i32::MIN..=i32::MAX)),
                sources: macaddr.iter().flatten().map(|address| *address.get_ref()).collect(),
            },
            mtu: table.take("mtu", found, |v| values::number(v, MIN_MTU..=MAX_MTU)),
            netns: table.take("netns", found, values::namespace),
            promisc: table.take("promisc", found, values::switch).unwrap_or_default(),
            txqueuelen: table.take("txqueuelen", found, |v| values::number(v, 0..=u32::MAX)),
            up: Some(table.take("up", found, values::switch).unwrap_or(true)),
        };
        spec.settings.sources.sort_unstable();
        spec.settings.sources.dedup();
        let spans = table.finish(found);
        // An entry with a name for its interface may have any name of its own.
        if !spans.has("name") {
            self.interface(wish, span);
        }
        let mode = if spans.has("mode") { mode } else { Some(Mode::default()) };
        let entry = LinkEntry { name: name.filter(|name| name != wish), spec };
        let macaddr = macaddr.unwrap_or_default();
        Placed { wish: wish.to_owned(), entry, mode, macaddr, spans }
    }

    fn interface(&mut self, name: &str, span: Range<usize>) {
        if let Err(message) = values::interface_name(name) {
            self.mistakes.push(Mistake { span, message });
        }
    }
}
