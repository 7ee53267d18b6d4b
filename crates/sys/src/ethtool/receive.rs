//! [`ReceiveOffloads`]: the features of a NIC that change or drop received frames, switched off and
//! on again.
//!
//! They are requested by the names that `ethtool -k` knows, because the older flags have no bit for
//! some of them (`rx-gro-hw`). Facts from `linux/ethtool.h` and `netdev-features.rst`.

use std::io;

use super::Ethtool;

/// `ETHTOOL_GSTRINGS`, `ETHTOOL_GSSET_INFO`, `ETHTOOL_GFEATURES`, `ETHTOOL_SFEATURES`.
const GET_STRINGS: u32 = 0x1b;
const GET_SET_INFO: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
const SET_FEATURES: u32 = 0x3b;

/// `ETH_SS_FEATURES`: the string set with the names of features.
const FEATURE_NAMES: u32 = 4;

/// Bytes of a name (`ETH_GSTRING_LEN`).
const NAME_LEN: usize = 32;

/// The most features that are read; Linux 7 has 64.
const FEATURES_MAX: usize = 4096;

/// Bits in a word of a feature set.
const WORD: usize = 32;

/// Features of a NIC that change received frames or drop some, as `ethtool -k` names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveOffloads {
    /// `rx-gro-hw`: the NIC merges frames of a flow.
    pub gro_hw: bool,
    /// `rx-lro`: the same, with less care for the headers.
    pub lro: bool,
    /// `rx-vlan-stag-filter`: the NIC drops frames with a service tag that is not registered.
    pub stag_filter: bool,
    /// `rx-vlan-stag-hw-parse`: the NIC removes service tags (802.1ad).
    pub stag: bool,
    /// `rx-vlan-hw-parse`: the NIC removes VLAN tags.
    pub vlan: bool,
    /// `rx-vlan-filter`: the NIC drops frames with a VLAN tag that is not registered.
    pub vlan_filter: bool,
}

/// Names of `ethtool -k`, each with its field of [`ReceiveOffloads`].
type Field = fn(&mut ReceiveOffloads) -> &mut bool;
const FIELDS: [(&str, Field); 6] = [
    ("rx-gro-hw", |it| &mut it.gro_hw),
    ("rx-lro", |it| &mut it.lro),
    ("rx-vlan-stag-filter", |it| &mut it.stag_filter),
    ("rx-vlan-stag-hw-parse", |it| &mut it.stag),
    ("rx-vlan-hw-parse", |it| &mut it.vlan),
    (VLAN_FILTER, |it| &mut it.vlan_filter),
];
const VLAN_FILTER: &str = "rx-vlan-filter";

impl ReceiveOffloads {
    const NONE: Self = Self {
        gro_hw: false,
        lro: false,
        stag_filter: false,
        stag: false,
        vlan: false,
        vlan_filter: false,
    };

    /// Those that make a received frame differ from that on the wire.
    pub const CHANGE_FRAMES: Self =
        Self { gro_hw: true, lro: true, stag: true, vlan: true, ..Self::NONE };

    /// Those that drop frames by their tag.
    pub const FILTER_VLANS: Self = Self { stag_filter: true, vlan_filter: true, ..Self::NONE };

    /// Those of `self` that are in `other`, too.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::those(|name| self.has(name) && other.has(name))
    }

    /// Those of `self`, and those of `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self::those(|name| self.has(name) || other.has(name))
    }

    /// True if there is none.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// The names of those that are there.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        FIELDS.into_iter().map(|(name, _)| name).filter(move |name| self.has(name))
    }

    fn has(mut self, name: &str) -> bool {
        FIELDS.iter().any(|(it, field)| *it == name && *field(&mut self))
    }

    /// Those whose names `is` is true for.
    fn those(is: impl Fn(&str) -> bool) -> Self {
        let mut those = Self::NONE;
        for (name, field) in FIELDS {
            *field(&mut those) = is(name);
        }
        those
    }
}

/// The features of an interface, by their numbers.
#[derive(Debug)]
struct Features {
    names: Vec<String>,
    /// `struct ethtool_get_features_block`: available, requested, active, never changed.
    blocks: Vec<[u32; 4]>,
}

impl Features {
    /// True if a feature can be switched and is to be on: it is on, unless another feature or a
    /// program prevents it now.
    fn is_requested(&self, name: &str) -> bool {
        let Some(number) = self.names.iter().position(|it| it == name) else {
            return false;
        };
        let [available, requested, ..] = self.blocks[number / WORD];
        available & requested & (1 << (number % WORD)) != 0
    }

    /// True if a feature is on now.
    fn is_active(&self, name: &str) -> bool {
        let Some(number) = self.names.iter().position(|it| it == name) else {
            return false;
        };
        let [_, _, active, _] = self.blocks[number / WORD];
        active & (1 << (number % WORD)) != 0
    }

    /// The message that requests these features to be on or off, and no other to change.
    fn request(&self, which: ReceiveOffloads, on: bool) -> Vec<u32> {
        let mut blocks = vec![[0; 2]; self.blocks.len()];
        for name in which.names() {
            if let Some(number) = self.names.iter().position(|it| it == name) {
                let [valid, requested] = &mut blocks[number / WORD];
                *valid |= 1 << (number % WORD);
                *requested |= u32::from(on) << (number % WORD);
            }
        }
        let size = u32::try_from(blocks.len()).unwrap_or(u32::MAX);
        [SET_FEATURES, size].into_iter().chain(blocks.into_flattened()).collect()
    }
}

impl Ethtool {
    /// The offloads that can be switched and are requested to be on.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn receive_offloads(&self, interface: &str) -> io::Result<ReceiveOffloads> {
        let features = self.feature_set(interface)?;
        Ok(ReceiveOffloads::those(|name| features.is_requested(name)))
    }

    /// True if frames are dropped whose VLAN tag is not registered with the NIC.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn filters_vlans(&self, interface: &str) -> io::Result<bool> {
        Ok(self.feature_set(interface)?.is_active(VLAN_FILTER))
    }

    /// Switches off those of `which` that are on. Returns these, for [`Ethtool::restore`].
    ///
    /// # Errors
    /// There is no such interface; `EPERM` without `CAP_NET_ADMIN`; the error of the driver.
    pub fn switch_off(
        &self,
        interface: &str,
        which: ReceiveOffloads,
    ) -> io::Result<ReceiveOffloads> {
        let features = self.feature_set(interface)?;
        let on = ReceiveOffloads::those(|name| features.is_requested(name)).and(which);
        if !on.is_empty() {
            self.set_features(interface, &mut features.request(on, false))?;
        }
        Ok(on)
    }

    /// Switches on the offloads that [`Ethtool::switch_off`] has returned.
    ///
    /// # Errors
    /// As [`Ethtool::switch_off`].
    pub fn restore(&self, interface: &str, on: ReceiveOffloads) -> io::Result<()> {
        if !on.is_empty() {
            self.set_features(interface, &mut self.feature_set(interface)?.request(on, true))?;
        }
        Ok(())
    }

    fn set_features(&self, interface: &str, request: &mut [u32]) -> io::Result<()> {
        // SAFETY: the kernel reads as many blocks as the request counts, and writes none.
        unsafe { self.exchange(interface, request) }
    }

    fn feature_set(&self, interface: &str) -> io::Result<Features> {
        // `struct ethtool_sset_info`: command, reserved, a mask of 64 bits, a count for each bit.
        let mut info = [GET_SET_INFO, 0, 0, 0, 0];
        let mask = (1_u64 << FEATURE_NAMES).to_ne_bytes();
        let [a, b, c, d, e, f, g, h] = mask;
        info[2] = u32::from_ne_bytes([a, b, c, d]);
        info[3] = u32::from_ne_bytes([e, f, g, h]);
        // SAFETY: one bit of the mask is set, so one count is written, behind the mask.
        unsafe { self.exchange(interface, &mut info)? };
        let count = usize::try_from(info[4]).unwrap_or(usize::MAX);
        if count == 0 || count > FEATURES_MAX {
            return Err(io::Error::other(format!("the kernel reports {count} features")));
        }
        let mut names = vec![0_u32; 3 + count * NAME_LEN / size_of::<u32>()];
        names[..2].copy_from_slice(&[GET_STRINGS, FEATURE_NAMES]);
        // SAFETY: there is room for all names, whose number is a constant of the running kernel.
        unsafe { self.exchange(interface, &mut names)? };
        let names: Vec<u8> = names[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let blocks = count.div_ceil(WORD);
        let mut features = vec![0_u32; 2 + blocks * 4];
        features[0] = GET_FEATURES;
        features[1] = u32::try_from(blocks).unwrap_or(u32::MAX);
        // SAFETY: the kernel writes at most as many blocks as the message counts.
        unsafe { self.exchange(interface, &mut features)? };
        let (blocks, _) = features[2..].as_chunks::<4>();
        Ok(Features {
            names: names.chunks(NAME_LEN).map(super::text).collect(),
            blocks: blocks.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features() -> Features {
        let mut names = vec![String::new(); 40];
        "rx-lro".clone_into(&mut names[3]);
        "rx-gro-hw".clone_into(&mut names[33]);
        "rx-vlan-hw-parse".clone_into(&mut names[34]);
        // LRO is requested, and a program prevents it; hardware GRO is fixed on.
        "rx-vlan-filter".clone_into(&mut names[35]);
        let blocks = vec![[0x08, 0x08, 0, 0], [0x04, 0x0e, 0x0e, 0x02]];
        Features { names, blocks }
    }

    #[test]
    fn features_are_found_by_their_names_beyond_one_word() {
        let features = features();
        let on = ReceiveOffloads::those(|name| features.is_requested(name));
        assert_eq!(on, ReceiveOffloads { lro: true, vlan: true, ..Default::default() });
        assert!(features.is_active(VLAN_FILTER) && !features.is_active("rx-lro"));
    }

    #[test]
    fn sets_of_features_are_joined_and_intersected_by_name() {
        let (both, none) = (ReceiveOffloads::CHANGE_FRAMES, ReceiveOffloads::default());
        let all = both.or(ReceiveOffloads::FILTER_VLANS);
        assert_eq!(all.names().count(), 6);
        assert_eq!((all.and(both), all.and(none), none.is_empty()), (both, none, true));
    }

    #[test]
    fn a_request_changes_the_named_features_only() {
        let features = features();
        let both = ReceiveOffloads { lro: true, vlan: true, ..Default::default() };
        assert_eq!(features.request(both, false), [SET_FEATURES, 2, 0x08, 0, 0x04, 0]);
        assert_eq!(features.request(both, true), [SET_FEATURES, 2, 0x08, 0x08, 0x04, 0x04]);
    }
}
