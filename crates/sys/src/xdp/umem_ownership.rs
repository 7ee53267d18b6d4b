//! [`UmemOwnership`]: the owner of each chunk of a UMEM.

/// The owner of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// No owner: it can be filled to be sent.
    Free,
    /// The kernel, to receive into: the chunk is in the fill ring or the RX ring.
    Filling,
    /// The turn: a received frame lies in it.
    Held,
    /// The kernel, to send from: the chunk is in the TX ring, the driver or the completion ring.
    Sending,
}

/// The owner of every chunk. The first ones are for receiving, the rest for sending.
#[derive(Debug)]
pub(super) struct UmemOwnership {
    owners: Box<[Owner]>,
    filling: usize,
    held: Vec<u16>,
    free: Vec<u16>,
    sending: usize,
    /// Calls of `is_consistent` since its last full check.
    checks: u16,
}

/// Calls of `is_consistent` per full check, which visits thousands of chunks.
const FULL_CHECK_EVERY: u16 = 64;

impl UmemOwnership {
    /// `rx` chunks that belong to the turn, to be given to the kernel, and after them `tx` free ones.
    pub(super) fn new(rx: u16, tx: u16) -> Self {
        let mut owners = vec![Owner::Held; usize::from(rx)];
        owners.resize(usize::from(rx + tx), Owner::Free);
        Self {
            owners: owners.into_boxed_slice(),
            filling: 0,
            held: (0..rx).collect(),
            free: (rx..rx + tx).rev().collect(),
            sending: 0,
            checks: 0,
        }
    }

    /// Gives a chunk in which a frame arrived to the turn. False for a chunk that the kernel did not
    /// own: the ring returned a wrong number, and the frame must be skipped.
    pub(super) fn receive(&mut self, chunk: usize) -> bool {
        let taken = self.pass(chunk, Owner::Filling, Owner::Held);
        if let (true, Ok(number)) = (taken, u16::try_from(chunk)) {
            self.filling -= 1;
            self.held.push(number);
        }
        taken
    }

    /// True if the chunk belongs to the turn.
    pub(super) fn is_held(&self, chunk: usize) -> bool {
        self.owners.get(chunk) == Some(&Owner::Held)
    }

    /// Gives every chunk of the turn to the kernel, through `to`.
    pub(super) fn refill(&mut self, mut to: impl FnMut(usize)) {
        for chunk in self.held.drain(..).map(usize::from) {
            self.owners[chunk] = Owner::Filling;
            self.filling += 1;
            to(chunk);
        }
    }

    /// The number of free chunks.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// Gives a free chunk to the kernel to send from; `None` if none is free.
    pub(super) fn acquire(&mut self) -> Option<usize> {
        let chunk = usize::from(self.free.pop()?);
        self.owners[chunk] = Owner::Sending;
        self.sending += 1;
        Some(chunk)
    }

    /// Frees a chunk that the kernel has sent. False for one that it did not own.
    pub(super) fn complete(&mut self, chunk: usize) -> bool {
        let done = self.pass(chunk, Owner::Sending, Owner::Free);
        if let (true, Ok(number)) = (done, u16::try_from(chunk)) {
            self.sending -= 1;
            self.free.push(number);
        }
        done
    }

    /// The number of chunks that the kernel sends from.
    pub(super) fn sending(&self) -> usize {
        self.sending
    }

    /// True if every chunk has exactly one owner. Each call compares the counts; one in
    /// [`FULL_CHECK_EVERY`] visits each chunk, because a chunk in two lists or in none stays so.
    pub(super) fn is_consistent(&mut self) -> bool {
        self.checks = (self.checks + 1) % FULL_CHECK_EVERY;
        let all = self.filling + self.held.len() + self.free.len() + self.sending;
        all == self.owners.len() && (self.checks != 0 || self.matches_owners())
    }

    /// True if the lists and the counts match the owners.
    fn matches_owners(&self) -> bool {
        let count = |owner| self.owners.iter().filter(|&&of| of == owner).count();
        let listed = |list: &[u16], owner| {
            list.iter().all(|&chunk| self.owners[usize::from(chunk)] == owner)
        };
        count(Owner::Filling) == self.filling
            && count(Owner::Sending) == self.sending
            && count(Owner::Held) == self.held.len()
            && count(Owner::Free) == self.free.len()
            && listed(&self.held, Owner::Held)
            && listed(&self.free, Owner::Free)
    }

    fn pass(&mut self, chunk: usize, from: Owner, to: Owner) -> bool {
        match self.owners.get_mut(chunk) {
            Some(owner) if *owner == from => {
                *owner = to;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chunk_that_the_kernel_does_not_own_is_refused() {
        let mut ownership = UmemOwnership::new(2, 2);
        assert!(!ownership.receive(0), "never given away");
        ownership.refill(|_| {});
        assert!(ownership.receive(0) && !ownership.receive(0), "twice");
        assert!(!ownership.receive(2), "one to send from");
        assert!(!ownership.receive(4), "there is no such chunk");
        let sent = ownership.acquire().unwrap();
        assert!(ownership.complete(sent) && !ownership.complete(sent), "twice");
        assert!(!ownership.complete(0) && !ownership.complete(1), "one to receive into");
        assert!(ownership.is_consistent() && ownership.matches_owners());
    }

    #[test]
    fn a_chunk_in_two_lists_is_found_within_one_full_check() {
        let mut ownership = UmemOwnership::new(2, 2);
        ownership.owners[0] = Owner::Free;
        let seen = (0..FULL_CHECK_EVERY).filter(|_| !ownership.is_consistent()).count();
        assert_eq!(seen, 1);
        ownership.held.pop();
        assert!(!ownership.is_consistent(), "a chunk in no list is found at once");
    }

    #[test]
    fn no_chunk_is_taken_twice() {
        let mut ownership = UmemOwnership::new(0, 3);
        let mut taken: Vec<_> = std::iter::from_fn(|| ownership.acquire()).collect();
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2]);
        assert_eq!((ownership.free(), ownership.sending()), (0, 3));
    }

    proptest! {
        #[test]
        fn whatever_the_rings_say_the_ledger_adds_up(
            steps in proptest::collection::vec((0..4_u8, 0..20_usize), 0..200),
        ) {
            let mut ownership = UmemOwnership::new(8, 8);
            for (step, chunk) in steps {
                match step {
                    0 => drop(ownership.receive(chunk)),
                    1 => ownership.refill(|_| {}),
                    2 => drop(ownership.acquire()),
                    _ => drop(ownership.complete(chunk)),
                }
                prop_assert!(ownership.is_consistent() && ownership.matches_owners());
            }
        }
    }
}
