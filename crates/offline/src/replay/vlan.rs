//! [`VlanStripper`]: selects the frames of one VLAN and removes its tags.

use umacvlan_core::frame::TAG_LEN;
use umacvlan_core::{VlanName, VlanTable};

use super::capture::Record;

/// Removes the tags of one VLAN, and skips the frames of others.
#[derive(Debug, Default)]
pub(super) struct VlanStripper {
    /// Empty for a parent that is not a VLAN: it takes all frames as they are.
    table: VlanTable,
    bytes: Vec<u8>,
}

impl VlanStripper {
    /// A stripper for the parent of this name.
    pub(super) fn new(parent: &str) -> Self {
        let mut stripper = Self::default();
        if let Ok(VlanName { vlan, .. }) = VlanName::parse(parent) {
            stripper.table.insert(vlan, 0);
        }
        stripper
    }

    /// The note for the output, if the parent is a VLAN.
    pub(super) fn note(&self, parent: &str) -> Option<String> {
        let note = || format!("{parent}: a VLAN, so only frames with its tags count, without them");
        (!self.table.is_empty()).then(note)
    }

    /// Returns the frame without the tags of the VLAN, or `None` if it does not have them.
    pub(super) fn strip<'r>(&'r mut self, record: Record<'r>) -> Option<Record<'r>> {
        if self.table.is_empty() {
            return Some(record);
        }
        let (_, tags) = self.table.find_in(record.bytes)?;
        let (addresses, rest) = record.bytes.split_at(12);
        self.bytes.clear();
        self.bytes.extend(addresses);
        self.bytes.extend(rest.get(tags * TAG_LEN..).unwrap_or_default());
        Some(Record {
            length: record.length.saturating_sub(tags * TAG_LEN).max(self.bytes.len()),
            bytes: &self.bytes,
            ..record
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(parent: &str, frame: &[u8]) -> Option<(Vec<u8>, usize)> {
        let record = Record { time: 0, length: 64, bytes: frame };
        let mut stripper = VlanStripper::new(parent);
        stripper.strip(record).map(|record| (record.bytes.to_vec(), record.length))
    }

    #[test]
    fn a_vlan_has_the_frames_with_its_tags_and_no_others() {
        let plain = [[2; 12].as_slice(), &[8, 0, 9]].concat();
        let tagged = [[2; 12].as_slice(), &[0x81, 0, 0xa0, 10, 8, 0, 9]].concat();
        assert_eq!(taken("eth0", &tagged), Some((tagged.clone(), 64)));
        assert_eq!(taken("eth0.10", &tagged), Some((plain.clone(), 60)));
        assert_eq!(taken("eth0.11", &tagged), None);
        assert_eq!(taken("eth0.10", &plain), None);
        assert_eq!(taken("eth0.10", &plain[..13]), None);
    }
}
