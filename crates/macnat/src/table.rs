//! [`Table`]: which link has which IP address.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use umacvlan_core::{DropReason, MacAddr, SubIndex};

/// How long a link has an address after its last frame from there: as long as bridges keep an address
/// (IEEE 802.1D). Afterwards frames still go there, until another link sends from it.
pub const LIFETIME: Duration = Duration::from_secs(300);

/// The addresses that a link may have.
pub const LINK_MAX: usize = 64;

/// The addresses that all links of a parent may have together.
pub const TABLE_MAX: usize = 4096;

/// How often a full table is searched for addresses that are no longer used.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

/// An IP address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The IP address.
    pub address: IpAddr,
    /// The link.
    pub link: SubIndex,
    /// The address of the link from which it sends.
    pub mac: MacAddr,
    /// When the link sent from there last.
    pub seen: Instant,
}

/// What is known of an address.
#[derive(Clone, Copy, Debug)]
struct Owner {
    link: SubIndex,
    mac: MacAddr,
    seen: Instant,
    /// The link is down.
    released: bool,
}

impl Owner {
    fn is_alive(&self, now: Instant) -> bool {
        !self.released && now.saturating_duration_since(self.seen) < LIFETIME
    }
}

/// An address as a number, which is hashed at once: that of IPv6, to which IPv4 is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key(u128);

impl From<IpAddr> for Key {
    #[inline]
    fn from(address: IpAddr) -> Self {
        Self(match address {
            IpAddr::V4(address) => 0xffff << 32 | u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        })
    }
}

impl From<Key> for IpAddr {
    fn from(Key(bits): Key) -> Self {
        Self::V6(bits.into()).to_canonical()
    }
}

/// All addresses, in memory that was allocated once.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    owners: HashMap<Key, Owner>,
    /// How many each link has, if it has any.
    counts: HashMap<SubIndex, usize>,
    /// When a search found nothing to remove.
    searched: Option<Instant>,
    changes: u64,
    removals: u64,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            owners: HashMap::with_capacity(TABLE_MAX),
            counts: HashMap::with_capacity(TABLE_MAX),
            searched: None,
            changes: 0,
            removals: 0,
        }
    }
}

impl Table {
    #[inline]
    pub(crate) fn get(&self, address: IpAddr) -> Option<Neighbour> {
        let &Owner { link, mac, seen, .. } = self.owners.get(&Key::from(address))?;
        Some(Neighbour { address, link, mac, seen })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Neighbour> {
        self.owners.iter().map(|(&key, &Owner { link, mac, seen, .. })| Neighbour {
            address: key.into(),
            link,
            mac,
            seen,
        })
    }

    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) const fn removals(&self) -> u64 {
        self.removals
    }

    /// Notes that a link has sent from an address; false, with nothing done, if it does not have that.
    #[inline]
    pub(crate) fn refresh(
        &mut self,
        address: IpAddr,
        link: SubIndex,
        mac: MacAddr,
        now: Instant,
    ) -> bool {
        match self.owners.get_mut(&Key::from(address)) {
            Some(owner) if owner.link == link && owner.mac == mac && !owner.released => {
                owner.seen = now;
                true
            }
            _ => false,
        }
    }

    /// True if another link has the address and is alive.
    pub(crate) fn is_held(&self, address: IpAddr, link: SubIndex, now: Instant) -> bool {
        self.owners
            .get(&Key::from(address))
            .is_some_and(|owner| owner.link != link && owner.is_alive(now))
    }

    /// Gives an address that no other link [holds](Self::is_held) to this link.
    ///
    /// # Errors
    /// [`DropReason::MacnatFull`]: the link or all links have as many as they may.
    pub(crate) fn claim(
        &mut self,
        address: IpAddr,
        link: SubIndex,
        mac: MacAddr,
        now: Instant,
    ) -> Result<(), DropReason> {
        match self.owners.get_mut(&Key::from(address)) {
            Some(owner) if owner.link == link => {
                self.changes += u64::from(owner.mac != mac);
                *owner = Owner { link, mac, seen: now, released: false };
                Ok(())
            }
            _ => self.insert(address, Owner { link, mac, seen: now, released: false }),
        }
    }

    #[cold]
    fn insert(&mut self, address: IpAddr, owner: Owner) -> Result<(), DropReason> {
        let (link, now) = (owner.link, owner.seen);
        let has = self.counts.get(&link).copied().unwrap_or(0);
        let full = self.owners.len() >= TABLE_MAX && !self.owners.contains_key(&Key::from(address));
        if (has >= LINK_MAX || full) && !self.make_room(link, has, now) {
            return Err(DropReason::MacnatFull);
        }
        self.remove(address);
        self.owners.insert(address.into(), owner);
        *self.counts.entry(link).or_insert(0) += 1;
        self.changes += 1;
        Ok(())
    }

    /// Removes the address that has not been used for longest: one of this link if it has as many as it
    /// may. False if all are alive.
    fn make_room(&mut self, link: SubIndex, has: usize, now: Instant) -> bool {
        let just = |searched: Instant| now.saturating_duration_since(searched) < SEARCH_INTERVAL;
        if self.searched.is_some_and(just) {
            return false;
        }
        let of_link = has >= LINK_MAX;
        let dead = self
            .owners
            .iter()
            .filter(|(_, owner)| (!of_link || owner.link == link) && !owner.is_alive(now));
        let oldest = dead.min_by_key(|(_, owner)| owner.seen).map(|(&key, _)| key);
        match oldest {
            Some(key) => self.remove(key.into()),
            None => self.searched = Some(now),
        }
        oldest.is_some()
    }

    pub(crate) fn remove(&mut self, address: IpAddr) {
        if let Some(owner) = self.owners.remove(&Key::from(address)) {
            self.changes += 1;
            self.removals += 1;
            if let Entry::Occupied(mut count) = self.counts.entry(owner.link) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }

    pub(crate) fn remove_link(&mut self, link: SubIndex) {
        if self.counts.remove(&link).is_some() {
            self.owners.retain(|_, owner| owner.link != link);
            self.changes += 1;
            self.removals += 1;
            self.searched = None;
        }
    }

    pub(crate) fn release_link(&mut self, link: SubIndex) {
        self.searched = None;
        for owner in self.owners.values_mut().filter(|owner| owner.link == link) {
            owner.released = true;
        }
    }
}
