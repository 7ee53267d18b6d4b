//! [`VlanTable`]: the lookup of a parent by the tags of a frame.

use hashbrown::HashMap;

use super::VlanPath;
use crate::frame::{TAG_LEN, Tag, VLAN, is_tpid};

/// The VLANs of an interface that have a parent, each with a number of the caller's choice.
///
/// Only tagged frames are looked up, once each.
#[derive(Clone, Debug, Default)]
pub struct VlanTable {
    /// By [`key`].
    numbers: HashMap<u64, u16>,
    /// The number of paths with two tags.
    stacked: usize,
}

impl VlanTable {
    /// Maps a path to a number, and returns the previous one.
    pub fn insert(&mut self, path: VlanPath, number: u16) -> Option<u16> {
        let before = self.remove(path);
        self.stacked += usize::from(path.tags().count() == 2);
        self.numbers.insert(key_of(path), number);
        before
    }

    /// Removes a path, and returns its number.
    pub fn remove(&mut self, path: VlanPath) -> Option<u16> {
        let number = self.numbers.remove(&key_of(path))?;
        self.stacked -= usize::from(path.tags().count() == 2);
        Some(number)
    }

    /// True when the table has no VLAN.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// The number for a frame with these tags, and how many of the tags to remove; `None` for a
    /// VLAN that is not in the table. A VLAN inside a VLAN takes precedence over the outer one
    /// alone. Priority and drop bit are ignored.
    pub fn find(&self, outer: Tag, inner: impl FnOnce() -> Option<Tag>) -> Option<(u16, usize)> {
        if self.stacked > 0
            && let Some(inner) = inner()
            && let Some(&number) = self.numbers.get(&key(outer, Some(inner)))
        {
            return Some((number, 2));
        }
        self.numbers.get(&key(outer, None)).map(|&number| (number, 1))
    }

    /// As [`find`](Self::find), for a frame that contains all its tags.
    #[inline]
    pub fn find_in(&self, frame: &[u8]) -> Option<(u16, usize)> {
        // First, because most interfaces have no VLAN.
        if self.is_empty() {
            return None;
        }
        let outer = tag_after_addresses(frame)?;
        self.find(outer, || tag_after_addresses(frame.get(TAG_LEN..)?))
    }
}

/// The tag behind the addresses of a frame, if there is a complete one. A slice that starts
/// [`TAG_LEN`] bytes later gives the next tag.
#[inline]
pub fn tag_after_addresses(frame: &[u8]) -> Option<Tag> {
    let &[a, b, c, d] = frame.get(12..)?.first_chunk()?;
    let tpid = u16::from_be_bytes([a, b]);
    is_tpid(tpid).then_some(Tag { tpid, tci: u16::from_be_bytes([c, d]) })
}

fn key_of(path: VlanPath) -> u64 {
    let mut tags = path.tags();
    let outer = tags.next().unwrap_or(Tag { tpid: VLAN, tci: 0 });
    key(outer, tags.next())
}

/// Both tags without their priorities as one number.
fn key(outer: Tag, inner: Option<Tag>) -> u64 {
    let half = |tag: Tag| u64::from(tag.tpid) << 16 | u64::from(tag.vid());
    half(outer) << 32 | inner.map_or(0, half)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(tags: &[Tag]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        for tag in tags {
            frame.extend(tag.tpid.to_be_bytes());
            frame.extend(tag.tci.to_be_bytes());
        }
        frame.extend([8, 0]);
        frame
    }

    fn tag(tpid: u16, tci: u16) -> Tag {
        Tag { tpid, tci }
    }

    #[test]
    fn the_longest_path_in_the_table_matches() {
        let mut table = VlanTable::default();
        let found = |table: &VlanTable, tags: &[Tag]| table.find_in(&frame(tags));
        assert_eq!(found(&table, &[tag(0x8100, 10)]), None);
        table.insert(VlanPath::single(10).unwrap(), 1);
        table.insert(VlanPath::stacked(10, 20).unwrap(), 2);
        assert_eq!(found(&table, &[tag(0x8100, 10)]), Some((1, 1)));
        assert_eq!(found(&table, &[tag(0x8100, 10), tag(0x8100, 20)]), Some((1, 1)));
        assert_eq!(found(&table, &[tag(0x88a8, 10), tag(0x8100, 20)]), Some((2, 2)));
        assert_eq!(found(&table, &[tag(0x88a8, 10), tag(0x8100, 21)]), None);
        // A provider's tag is a different VLAN, and a priority tag is none.
        assert_eq!(found(&table, &[tag(0x88a8, 10)]), None);
        assert_eq!(found(&table, &[tag(0x8100, 0)]), None);
        assert_eq!(found(&table, &[]), None);
    }

    #[test]
    fn a_removed_path_matches_nothing() {
        let mut table = VlanTable::default();
        let path = VlanPath::stacked(10, 20).unwrap();
        assert_eq!((table.insert(path, 1), table.insert(path, 2)), (None, Some(1)));
        assert_eq!((table.remove(path), table.remove(path)), (Some(2), None));
        assert!(table.is_empty() && table.stacked == 0);
    }

    proptest! {
        #[test]
        fn priorities_and_further_tags_are_ignored(
            vid in 1..=4094_u16, priority in 0..16_u16, more in proptest::option::of(any::<u16>()),
        ) {
            let mut table = VlanTable::default();
            table.insert(VlanPath::single(vid.into()).unwrap(), 7);
            let tags: Vec<Tag> = std::iter::once(tag(0x8100, priority << 12 | vid))
                .chain(more.map(|tci| tag(0x8100, tci)))
                .collect();
            prop_assert_eq!(table.find_in(&frame(&tags)), Some((7, 1)));
        }

        #[test]
        fn lookup_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..30)) {
            let mut table = VlanTable::default();
            table.insert(VlanPath::stacked(1, 2).unwrap(), 7);
            let _ = table.find_in(&bytes);
        }
    }
}
