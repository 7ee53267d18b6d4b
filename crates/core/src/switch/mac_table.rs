//! [`MacTable`]: the lookup of a destination address.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::SubIndex;

/// An odd number without a pattern: the first 64 bits of the fraction of pi, the last one set.
const MULTIPLIER: u64 = 0x243f_6a88_85a3_08d3;

/// A hash table with one word for each sub-interface that is up: the address in the upper 48 bits,
/// the [`SubIndex`] in the lower 16.
///
/// A map from addresses to indexes has 16 bytes for each, so half as many entries fit into the
/// cache; among tens of thousands, cache misses are the cost of a lookup.
#[derive(Clone, Debug)]
pub(super) struct MacTable {
    words: HashTable<u64>,
    /// Random, so that nobody can choose addresses that collide.
    seed: u64,
}

impl Default for MacTable {
    fn default() -> Self {
        Self { words: HashTable::new(), seed: DefaultHashBuilder::default().hash_one(0_u64) }
    }
}

impl MacTable {
    /// The sub-interface with this address, given as [`MacAddr::to_u64`](crate::MacAddr::to_u64).
    // Inlined: it is most of a decision.
    #[inline(always)]
    pub(super) fn get(&self, key: u64) -> Option<SubIndex> {
        let word = self.words.find(hash(self.seed, key), |word| word >> 16 == key)?;
        Some(index_of(*word))
    }

    /// Adds an address, and returns the sub-interface that had it before.
    pub(super) fn insert(&mut self, key: u64, id: SubIndex) -> Option<SubIndex> {
        let before = self.remove(key);
        let seed = self.seed;
        let word = key << 16 | u64::from(id.0);
        self.words.insert_unique(hash(seed, key), word, |word| hash(seed, word >> 16));
        before
    }

    /// Removes an address, and returns the sub-interface that had it.
    pub(super) fn remove(&mut self, key: u64) -> Option<SubIndex> {
        let entry = self.words.find_entry(hash(self.seed, key), |word| word >> 16 == key).ok()?;
        Some(index_of(entry.remove().0))
    }
}

/// The index in a word.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the lower 16 bits are the index")]
const fn index_of(word: u64) -> SubIndex {
    SubIndex(word as u16)
}

/// Each bit of the folded product depends on every bit of the address. So the table may use the low
/// bits for the slot and the high bits for the tag of an entry.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "both halves of the product are used")]
const fn hash(seed: u64, key: u64) -> u64 {
    let product = (key ^ seed) as u128 * MULTIPLIER as u128;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_address_maps_to_the_index_given_last() {
        let mut table = MacTable::default();
        let key = |n: u16| 0x0200_0000_0000 | u64::from(n);
        for n in 0..=u16::MAX {
            assert_eq!(table.insert(key(n), SubIndex(n)), None);
        }
        assert_eq!(table.insert(key(7), SubIndex(8)), Some(SubIndex(7)));
        assert_eq!(table.remove(key(9)), Some(SubIndex(9)));
        assert_eq!(table.get(key(7)), Some(SubIndex(8)));
        assert_eq!(table.get(key(9)), None);
        assert_eq!(table.get(key(u16::MAX)), Some(SubIndex(u16::MAX)));
        assert_eq!(table.get(0x0400_0000_0000), None);
    }

    #[test]
    fn addresses_in_a_row_are_spread_over_the_table() {
        let seed = MacTable::default().seed;
        let slots: HashSet<_> = (0..4096).map(|n| hash(seed, 0x0200 << 32 | n) & 0xffff).collect();
        // By chance alone 3970 of 4096 would be different.
        assert!(slots.len() > 3800, "{} different slots", slots.len());
    }
}
