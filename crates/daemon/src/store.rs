//! [`Store`]: what must be known to go on after a restart, one small file a link and a parent.
//!
//! Nothing is synced to a disk: what the files tell of, TAPs, ends with the machine's power as
//! surely as an unwritten page does, and files of an earlier boot are not believed.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_with::{DisplayFromStr, FromInto, serde_as};
use umacvlan_api::Flags;
use umacvlan_core::{MacAddr, MacvlanFlags, MacvlanSettings, Mode};
use umacvlan_sys::ethtool::ReceiveOffloads;
use umacvlan_sys::netns::NetnsId;

use super::files::{Files, Kept};

const LINK: &str = "link-";
const PARENT: &str = "parent-";
const NUMBERS: &str = "numbers.json";
const CONFIG: &str = "config.json";

/// What it means to lose a file.
const LOST: &str = "An interface it was about is left alone, without carrier: delete it with \
                    `ip link del`";

/// What tells one boot from another.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What is written down of a link: enough to find its interface and to serve it as before.
#[serde_as]
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LinkRecord {
    pub id: u64,
    /// The name under which the configuration has it.
    pub config: Option<String>,
    /// What whoever asked for it finds it by.
    #[serde(default)]
    pub owner: Option<String>,
    pub parent: String,
    /// The name of its interface.
    pub name: String,
    /// Where its interface is: namespace, as device and inode, and index there.
    pub netns: (u64, u64),
    pub index: u32,
    #[serde_as(as = "DisplayFromStr")]
    pub mac: MacAddr,
    #[serde_as(as = "DisplayFromStr")]
    pub mode: Mode,
    #[serde_as(as = "FromInto<Flags>")]
    #[serde(flatten)]
    pub flags: MacvlanFlags,
    pub bc_queue_len: u32,
    #[serde_as(as = "Vec<DisplayFromStr>")]
    pub sources: Vec<MacAddr>,
}

impl LinkRecord {
    /// Its macvlan settings. The limit `bclim` is in the record of the parent.
    pub fn settings(&self) -> MacvlanSettings {
        MacvlanSettings {
            mode: self.mode,
            flags: self.flags,
            bcqueuelen: Some(self.bc_queue_len),
            bclim: None,
            sources: self.sources.clone(),
        }
    }

    pub fn netns(&self) -> NetnsId {
        let (dev, ino) = self.netns;
        NetnsId { dev, ino }
    }
}

/// What is written down of a parent.
#[serde_as]
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ParentRecord {
    pub name: String,
    /// The address to give back after a passthru link.
    #[serde_as(as = "DisplayFromStr")]
    pub own_mac: MacAddr,
    pub mtu: u32,
    pub bc_cutoff: i32,
    /// What its NIC did to received frames before it was a parent, and does no longer.
    #[serde(default)]
    pub switched_off: SwitchedOff,
}

/// [`ReceiveOffloads`] as they are written down.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchedOff {
    lro: bool,
    vlan: bool,
}

impl From<ReceiveOffloads> for SwitchedOff {
    fn from(ReceiveOffloads { lro, vlan }: ReceiveOffloads) -> Self {
        Self { lro, vlan }
    }
}

impl From<SwitchedOff> for ReceiveOffloads {
    fn from(SwitchedOff { lro, vlan }: SwitchedOff) -> Self {
        Self { lro, vlan }
    }
}

/// What belongs to no link and no parent.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    /// The boot that all records are of.
    boot: String,
    /// The number of the next link.
    next: u64,
}

/// What a former daemon has left.
#[derive(Debug, Default)]
pub struct Found {
    /// In the order of their numbers.
    pub links: Vec<LinkRecord>,
    pub parents: Vec<ParentRecord>,
    /// The configuration that was applied last, as TOML.
    pub config: Option<String>,
}

/// The state directory, which one daemon has to itself.
#[derive(Debug)]
pub struct Store {
    files: Files,
    boot: String,
    next: u64,
}

impl Store {
    /// Takes the directory, which is made if it is not there, and reads what is in it.
    pub fn open(dir: &Path) -> Result<(Self, Found)> {
        let files = Files::open(dir, LOST)?;
        // It tells boots apart and nothing else: without /proc there is one boot only.
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned();
        let mut store = Self { files, boot, next: 1 };
        let found = store.read_all();
        let found = found.with_context(|| format!("state directory {}", dir.display()))?;
        Ok((store, found))
    }

    /// A number that no link has had.
    pub fn next_id(&mut self) -> io::Result<u64> {
        let id = self.next;
        self.write(NUMBERS, &Numbers { boot: self.boot.clone(), next: id + 1 })?;
        self.next += 1;
        Ok(id)
    }

    pub fn put_link(&self, record: &LinkRecord) -> io::Result<()> {
        self.write(&link_file(record.id), record)
    }

    pub fn put_parent(&self, record: &ParentRecord) -> io::Result<()> {
        self.write(&parent_file(&record.name), record)
    }

    /// Notes the configuration that was applied, as TOML.
    pub fn put_config(&self, text: &str) -> io::Result<()> {
        self.write(CONFIG, &text)
    }

    pub fn remove_link(&self, id: u64) {
        self.remove(&link_file(id));
    }

    pub fn remove_parent(&self, name: &str) {
        self.remove(&parent_file(name));
    }

    fn read_all(&mut self) -> io::Result<Found> {
        let names = self.files.names()?;
        let numbers = names.iter().any(|name| name == NUMBERS);
        let numbers = numbers.then(|| self.read::<Numbers>(NUMBERS)).flatten();
        // A number is used up even if its file cannot be read.
        let used = names.iter().filter_map(|name| number_in(name)).max().unwrap_or(0);
        self.next = numbers.as_ref().map_or(1, |numbers| numbers.next).max(used + 1);
        let stale = numbers.is_some_and(|numbers| numbers.boot != self.boot);
        let mut found = Found::default();
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
        self.files.write(name, record, Kept::UntilBoot)
    }

    fn remove(&self, name: &str) {
        self.files.remove(name);
    }
}

fn link_file(id: u64) -> String {
    format!("{LINK}{id}.json")
}

/// No interface name has a slash in it.
fn parent_file(name: &str) -> String {
    format!("{PARENT}{name}.json")
}

/// The number of the link that a file is about, damaged or not.
fn number_in(name: &str) -> Option<u64> {
    name.strip_prefix(LINK)?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use umacvlan_testkit::Scratch;

    use super::*;
    use crate::testing::link_record as link;

    #[test]
    fn what_was_written_is_found_again_in_order() {
        let dir = Scratch::new();
        let (store, found) = Store::open(dir.path()).unwrap();
        assert!(found.links.is_empty() && found.parents.is_empty());
        let parent = ParentRecord {
            name: "p0".to_owned(),
            own_mac: MacAddr::new([2, 0, 0, 0, 0, 7]),
            mtu: 1500,
            bc_cutoff: -1,
            switched_off: SwitchedOff { lro: true, vlan: false },
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
        let unknown = text.replace("nodst", "colour");
        assert!(serde_json::from_str::<LinkRecord>(&unknown).is_err());
    }

    #[test]
    fn the_directory_is_closed_and_the_way_to_it_is_open() {
        let dir = Scratch::new();
        let state = dir.path().join("umacvlan/state");
        let _store = Store::open(&state).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(state.parent().unwrap()), mode(&state)), (0o755, 0o700));
    }

    #[test]
    fn a_number_is_never_given_twice() {
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
    fn what_an_earlier_boot_has_left_is_not_believed() {
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
