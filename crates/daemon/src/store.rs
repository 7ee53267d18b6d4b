//! [`Store`]: the state that a restarted daemon needs, one file per link and parent.
//!
//! Files are not synced to the disk: TAPs end with the machine as well, and files of an earlier
//! boot are ignored.
//!
//! The package may be replaced by a newer or an older one while links are there. So a field that is
//! added to a record is optional, and a field that is not known is ignored: it belongs to a newer
//! version. A change that a former version would misread needs another version of the format.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use umacvlan_api::LinkSpec;
use umacvlan_config::Config;
use umacvlan_engine::cpus;

use crate::keeper::Kept;
use crate::leases::LeaseFiles;
use crate::link_record::LinkRecord;
use crate::parent_record::ParentRecord;
use crate::record_store::{Durability, RecordStore, Reservation};

const LINK: &str = "link-";
const PARENT: &str = "parent-";
const NUMBERS: &str = "numbers.json";
const CONFIG: &str = "config.json";

/// Bytes by which a record may grow beyond what is known beforehand: numbers get more digits.
const SPARE: usize = 1024;

/// The consequence of a damaged file.
const LOST: &str = "An interface it was about is left alone, without carrier: delete it with \
                    `ip link del`";

/// The directory of the leases.
const LEASES: &str = "leases";

/// The consequence of a damaged file of a lease.
const LEASE_LOST: &str = "Its link asks DHCP servers for another address";

/// The id of this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The record of the store itself.
#[derive(Deserialize, Serialize)]
pub(crate) struct Numbers {
    /// The boot in which all records were written.
    boot: String,
    /// The number of the next link.
    next: u64,
}

/// The state that a former daemon has left.
#[derive(Debug, Default)]
pub struct SavedState {
    /// Links by ascending number.
    pub(crate) links: Vec<LinkRecord>,
    pub(crate) parents: Vec<ParentRecord>,
    /// The configuration that was applied last, as TOML.
    pub(crate) config: Option<String>,
}

impl SavedState {
    /// True if a link has no queues among those that the keeper has held.
    pub fn has_other_links(&self, kept: &Kept) -> bool {
        self.links.iter().any(|link| link.program.is_none() && !kept.contains_key(&link.id))
    }

    /// The configuration that was applied last. If it cannot be read, the running links take its
    /// place.
    pub(crate) fn applied(&self) -> Config {
        let text = self.config.as_deref().unwrap_or_default();
        let parsed = Config::parse("the state", text, &cpus::allowed());
        parsed.map(|parsed| parsed.config).unwrap_or_default()
    }
}

/// The state directory, which one daemon uses at a time.
#[derive(Debug)]
pub struct Store {
    files: RecordStore,
    /// The directory for [`Self::open_leases`].
    leases: PathBuf,
    boot: String,
    next: u64,
}

impl Store {
    /// Locks the directory, makes it if it does not exist, and reads its files.
    ///
    /// # Errors The directory cannot be made or read, or another daemon uses it.
    pub fn open(dir: &Path) -> Result<(Self, SavedState)> {
        let files = RecordStore::open(dir, LOST)?;
        // Without /proc all boots look the same.
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned();
        let mut store = Self { files, leases: dir.join(LEASES), boot, next: 1 };
        let found = store.read_all();
        let found = found.with_context(|| format!("state directory {}", dir.display()))?;
        Ok((store, found))
    }

    /// The files of leases, in a directory of their own, which another thread writes.
    ///
    /// # Errors The directory cannot be made, or another daemon uses it.
    pub(crate) fn open_leases(&self) -> Result<LeaseFiles> {
        let files = RecordStore::open(&self.leases, LEASE_LOST)?;
        Ok(LeaseFiles { files, boot: self.boot.clone() })
    }

    /// A number that no link had before.
    pub(crate) fn next_id(&mut self) -> io::Result<u64> {
        let id = self.next;
        self.write(NUMBERS, &Numbers { boot: self.boot.clone(), next: id + 1 })?;
        self.next += 1;
        Ok(id)
    }

    pub(crate) fn put_link(&self, record: &LinkRecord) -> io::Result<()> {
        self.write(&link_file(record.id), record)
    }

    pub(crate) fn put_parent(&self, record: &ParentRecord) -> io::Result<()> {
        self.write(&parent_file(&record.name), record)
    }

    /// Takes the room for the record of a link that differs from `record` by at most `more` bytes.
    pub(crate) fn reserve_link(&self, record: &LinkRecord, more: usize) -> io::Result<Reservation> {
        let bytes = serde_json::to_vec(record)?.len() + more + SPARE;
        self.files.reserve(&link_file(record.id), bytes, Durability::UntilBoot)
    }

    /// Takes the room for the record of a link that does not exist yet.
    pub(crate) fn reserve_new_link(&self, id: u64, spec: &LinkSpec) -> io::Result<Reservation> {
        let bytes = serde_json::to_vec(spec)?.len() + SPARE;
        self.files.reserve(&link_file(id), bytes, Durability::UntilBoot)
    }

    /// Takes the room for the record of a parent whose numbers change.
    pub(crate) fn reserve_parent(&self, record: &ParentRecord) -> io::Result<Reservation> {
        let bytes = serde_json::to_vec(record)?.len() + SPARE;
        self.files.reserve(&parent_file(&record.name), bytes, Durability::UntilBoot)
    }

    /// Takes the room for the configuration that is to be applied, as TOML.
    pub(crate) fn reserve_config(&self, text: &str) -> io::Result<Reservation> {
        let bytes = serde_json::to_vec(text)?.len() + SPARE;
        self.files.reserve(CONFIG, bytes, Durability::UntilBoot)
    }

    /// Checks that records can be removed.
    pub(crate) fn check_removable(&self) -> io::Result<()> {
        self.files.check_removable()
    }

    /// Writes the configuration that was applied, as TOML.
    pub(crate) fn put_config(&self, text: &str) -> io::Result<()> {
        self.write(CONFIG, &text)
    }

    pub(crate) fn remove_link(&self, id: u64) {
        self.remove(&link_file(id));
    }

    pub(crate) fn remove_parent(&self, name: &str) {
        self.remove(&parent_file(name));
    }

    fn read_all(&mut self) -> io::Result<SavedState> {
        let names = self.files.names()?;
        let numbers = names.iter().any(|name| name == NUMBERS);
        let numbers = numbers.then(|| self.read::<Numbers>(NUMBERS)).flatten();
        // A damaged file uses its number up as well.
        let used = names.iter().filter_map(|name| number_in(name)).max().unwrap_or(0);
        self.next = numbers.as_ref().map_or(1, |numbers| numbers.next).max(used + 1);
        let stale = numbers.is_some_and(|numbers| numbers.boot != self.boot);
        let mut found = SavedState::default();
        for name in names {
            if !name.ends_with(".json") || name == NUMBERS {
                continue;
            }
            match () {
                () if stale => self.remove(&name),
                () if name == CONFIG => found.config = self.read(&name),
                () if name.starts_with(LINK) => found.links.extend(self.read(&name)),
                () if name.starts_with(PARENT) => found.parents.extend(self.read(&name)),
                () => {}
            }
        }
        found.links.sort_by_key(|link: &LinkRecord| link.id);
        Ok(found)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.files.read(name)
    }

    fn write<T: Serialize>(&self, name: &str, record: &T) -> io::Result<()> {
        self.files.write(name, record, Durability::UntilBoot)
    }

    fn remove(&self, name: &str) {
        self.files.remove(name);
    }
}

fn link_file(id: u64) -> String {
    format!("{LINK}{id}.json")
}

/// An interface name has no slash.
fn parent_file(name: &str) -> String {
    format!("{PARENT}{name}.json")
}

/// The number of the link in a file's name, damaged or not.
fn number_in(name: &str) -> Option<u64> {
    name.strip_prefix(LINK)?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use umacvlan_core::MacAddr;
    use umacvlan_testkit::Scratch;

    use super::*;
    use crate::fixtures::link_record as link;
    use crate::parent_record::SwitchedOff;

    #[test]
    fn records_are_read_back_in_order() {
        let dir = Scratch::new();
        let (store, found) = Store::open(dir.path()).unwrap();
        assert!(found.links.is_empty() && found.parents.is_empty());
        let parent = ParentRecord {
            name: "p0".to_owned(),
            own_mac: MacAddr::new([2, 0, 0, 0, 0, 7]),
            mtu: 1500,
            bc_cutoff: -1,
            switched_off: SwitchedOff { lro: true, gro_hw: true, ..SwitchedOff::default() },
            tags: true,
            macnat: false,
            neighbours: Vec::new(),
            interface: None,
        };
        store.put_parent(&parent).unwrap();
        store.put_config("[engine]\n").unwrap();
        for id in [10, 9] {
            store.put_link(&link(id)).unwrap();
        }
        drop(store);
        let (_, found) = Store::open(dir.path()).unwrap();
        assert_eq!(found.links, [link(9), link(10)]);
        assert_eq!(found.parents, [parent]);
        assert_eq!(found.config.as_deref(), Some("[engine]\n"));
    }

    #[test]
    fn a_record_of_a_link_keeps_its_shape() {
        let text = r#"{"id":4,"config":null,"owner":"somebody","parent":"p0","name":"mac1","netns":[4,4026531840],"index":7,"mac":"02:00:00:00:00:01","mode":"source","nodst":true,"nopromisc":false,"bc_queue_len":1000,"sources":["02:00:00:00:00:09"]}"#;
        assert_eq!(serde_json::to_string(&link(4)).unwrap(), text);
        assert_eq!(serde_json::from_str::<LinkRecord>(text).unwrap(), link(4));
        let newer = text.replace("\"id\"", "\"colour\":{\"a\":[1]},\"id\"");
        assert_eq!(serde_json::from_str::<LinkRecord>(&newer).unwrap(), link(4));
        let missing = text.replace("index", "colour");
        assert!(serde_json::from_str::<LinkRecord>(&missing).is_err());
    }

    #[test]
    fn the_state_of_the_first_version_is_read() {
        let dir = Scratch::new();
        let (store, _) = Store::open(dir.path()).unwrap();
        let boot = store.boot.clone();
        drop(store);
        let write = |name: &str, record: &str| {
            let text = format!(r#"{{"version":1,"record":{record}}}"#);
            fs::write(dir.path().join(name), text).unwrap();
        };
        write("numbers.json", &format!(r#"{{"boot":"{boot}","next":7}}"#));
        write("config.json", r#""[engine]\n""#);
        write(
            "link-4.json",
            r#"{"id":4,"config":null,"parent":"p0","name":"mac1","netns":[4,4026531840],"index":7,"mac":"02:00:00:00:00:01","mode":"source","nodst":true,"nopromisc":false,"bc_queue_len":1000,"sources":["02:00:00:00:00:09"]}"#,
        );
        write(
            "parent-p0.json",
            r#"{"name":"p0","own_mac":"02:00:00:00:00:07","mtu":1500,"bc_cutoff":-1}"#,
        );
        let (mut store, found) = Store::open(dir.path()).unwrap();
        assert_eq!(found.links, [LinkRecord { owner: None, ..link(4) }]);
        assert_eq!((found.parents.len(), found.parents[0].own_mac.octets()[5]), (1, 7));
        assert_eq!(found.config.as_deref(), Some("[engine]\n"));
        assert_eq!(store.next_id().unwrap(), 7);
    }

    #[test]
    fn the_directory_is_private_and_its_parents_are_open() {
        let dir = Scratch::new();
        let state = dir.path().join("umacvlan/state");
        let _store = Store::open(&state).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(state.parent().unwrap()), mode(&state)), (0o755, 0o700));
    }

    #[test]
    fn a_number_is_never_reused() {
        let dir = Scratch::new();
        let (mut store, _) = Store::open(dir.path()).unwrap();
        assert_eq!((store.next_id().unwrap(), store.next_id().unwrap()), (1, 2));
        store.put_link(&link(2)).unwrap();
        store.remove_link(2);
        drop(store);
        let (mut store, _) = Store::open(dir.path()).unwrap();
        assert_eq!(store.next_id().unwrap(), 3);
        store.put_link(&link(8)).unwrap();
        drop(store);
        fs::write(dir.path().join("link-8.json"), "{").unwrap();
        fs::write(dir.path().join(NUMBERS), "").unwrap();
        assert_eq!(Store::open(dir.path()).unwrap().0.next_id().unwrap(), 9);
    }

    #[test]
    fn damaged_files_are_set_aside_and_the_others_are_read() {
        let dir = Scratch::new();
        let (store, _) = Store::open(dir.path()).unwrap();
        store.put_link(&link(1)).unwrap();
        drop(store);
        let damaged = ["", "{", "null", "[1]", r#"{"version":2,"record":{}}"#, "\u{0}\u{0}"];
        for (id, text) in (2..).zip(damaged) {
            fs::write(dir.path().join(link_file(id)), text).unwrap();
        }
        fs::create_dir(dir.path().join("link-99.json")).unwrap();
        let (mut store, found) = Store::open(dir.path()).unwrap();
        assert_eq!(found.links, [link(1)]);
        for id in 2..8 {
            assert!(dir.path().join(format!("link-{id}.damaged")).exists(), "{id}");
        }
        assert_eq!(store.next_id().unwrap(), 100);
    }

    #[test]
    fn pipes_sockets_and_directories_are_set_aside_and_do_not_block_the_start() {
        let dir = Scratch::new();
        let (store, _) = Store::open(dir.path()).unwrap();
        store.put_link(&link(1)).unwrap();
        drop(store);
        let pipe = |name: &str| {
            let path = dir.path().join(name);
            let _ = fs::remove_file(&path);
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        };
        for name in ["link-2.json", "parent-p0.json", "lock", NUMBERS, CONFIG, "link-6.json.new"] {
            pipe(name);
        }
        let _socket =
            std::os::unix::net::UnixListener::bind(dir.path().join("link-3.json")).unwrap();
        fs::create_dir(dir.path().join("link-4.json")).unwrap();
        let (mut store, found) = Store::open(dir.path()).unwrap();
        assert_eq!(found.links, [link(1)]);
        for name in ["link-2", "link-3", "link-4", "parent-p0", "lock", "numbers", "config"] {
            assert!(dir.path().join(format!("{name}.damaged")).exists(), "{name}");
        }
        assert!(!dir.path().join("link-6.json.new").exists());
        assert_eq!(store.next_id().unwrap(), 5);
        pipe("link-5.json.new");
        store.put_link(&link(5)).unwrap_err();
        store.put_link(&link(5)).unwrap();
    }

    #[test]
    fn records_of_an_earlier_boot_are_ignored() {
        let dir = Scratch::new();
        let (mut store, _) = Store::open(dir.path()).unwrap();
        store.boot = "another".to_owned();
        let id = store.next_id().unwrap();
        store.put_link(&link(id)).unwrap();
        drop(store);
        let (mut store, found) = Store::open(dir.path()).unwrap();
        assert!(found.links.is_empty());
        assert_eq!(store.next_id().unwrap(), id + 1);
    }

    #[test]
    fn the_directory_belongs_to_one_daemon() {
        let dir = Scratch::new();
        let (_first, _) = Store::open(dir.path()).unwrap();
        let refused = Store::open(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("another daemon"), "{refused}");
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let dir = Scratch::new();
        let (store, _) = Store::open(dir.path()).unwrap();
        store.put_link(&link(1)).unwrap();
        // A directory in the way of the temporary name fails as a full disk does.
        fs::create_dir(dir.path().join("link-1.json.new")).unwrap();
        let other = LinkRecord { index: 8, ..link(1) };
        store.put_link(&other).unwrap_err();
        drop(store);
        assert_eq!(Store::open(dir.path()).unwrap().1.links, [link(1)]);
    }
}
