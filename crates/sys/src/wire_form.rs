//! [`WireForm`]: how frames look on the wire.

use umacvlan_core::offload::TaggedPrefix;
use umacvlan_core::{MacAddr, VlanPath};

/// What frames of a switch have on the wire that they do not have in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireForm {
    path: VlanPath,
    source: Option<MacAddr>,
    /// True if there is either.
    changes: bool,
}

impl WireForm {
    /// Frames are on the wire as they are.
    pub const UNCHANGED: Self = Self { path: VlanPath::UNTAGGED, source: None, changes: false };

    /// With these tags, and with this source address if there is one, whatever theirs is.
    pub const fn new(path: VlanPath, source: Option<MacAddr>) -> Self {
        Self { path, source, changes: !path.is_untagged() || source.is_some() }
    }

    /// True if frames are on the wire as they are.
    #[inline]
    pub const fn is_unchanged(&self) -> bool {
        !self.changes
    }

    /// The tags.
    #[inline]
    pub const fn path(&self) -> &VlanPath {
        &self.path
    }

    /// The source address of all frames.
    #[inline]
    pub const fn source(&self) -> Option<MacAddr> {
        self.source
    }

    /// The bytes to be sent in place of the first ones of a frame; `None` for an invalid frame.
    pub fn prefix(&self, unit: &[u8]) -> Option<TaggedPrefix> {
        let mut prefix = TaggedPrefix::new(unit, &self.path)?;
        if let Some(source) = self.source {
            prefix.set_source(source);
        }
        Some(prefix)
    }
}

#[cfg(test)]
mod tests {
    use umacvlan_core::offload::{UNTAGGED_PREFIX_LEN, VNET_LEN};

    use super::*;

    #[test]
    fn another_source_changes_nothing_else() {
        let unit: Vec<u8> = [&[0; VNET_LEN][..], &[7; 60]].concat();
        let source = MacAddr::new([2, 0, 0, 0, 0, 9]);
        let form = WireForm::new(VlanPath::UNTAGGED, Some(source));
        let head = form.prefix(&unit).unwrap();
        let mut expected = unit[..UNTAGGED_PREFIX_LEN].to_vec();
        expected[16..].copy_from_slice(&source.octets());
        assert_eq!(head.as_bytes(), expected);
        assert!(!form.is_unchanged() && WireForm::default().is_unchanged());
        assert_eq!(WireForm::new(VlanPath::UNTAGGED, None), WireForm::UNCHANGED);
    }
}
