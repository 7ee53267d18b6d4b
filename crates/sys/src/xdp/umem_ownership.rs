//! [`UmemOwnership`]: whose each chunk of a UMEM is.

/// Whose a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// Nobody's: it can be filled to be sent.
    Free,
    /// The kernel's, to receive into: it is in the fill ring, or full in the RX ring.
    Filling,
    /// The turn's: a frame that was received lies in it.
    Held,
    /// The kernel's, to send from: it is in the TX ring, on its way, or in the completion ring.
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
    /// Calls of `is_consistent` since it has looked at each chunk.
    looks: u16,
}

/// How often `is_consistent` looks at each chunk: thousands of them, more than a turn has frames.
const LOOK_EVERY: u16 = 64;

impl UmemOwnership {
    /// `rx` chunks that the turn holds, to be given to the kernel, and `tx` free ones after them.
    pub(super) fn new(rx: u16, tx: u16) -> Self {
        let mut owners = vec![Owner::Held; usize::from(rx)];
        owners.resize(usize::from(rx + tx), Owner::Free);
        Self {
            owners: owners.into_boxed_slice(),
            filling: 0,
            held: (0..rx).collect(),
            free: (rx..rx + tx).rev().collect(),
            sending: 0,
            looks: 0,
        }
    }

    /// A frame has come in this chunk, which is the turn's now. False for a chunk that was not the
    /// kernel's: the ring cannot be trusted, and the frame must be passed over.
    pub(super) fn receive(&mut self, chunk: usize) -> bool {
        let taken = self.pass(chunk, Owner::Filling, Owner::Held);
        if let (true, Ok(number)) = (taken, u16::try_from(chunk)) {
            self.filling -= 1;
            self.held.push(number);
        }
        taken
    }

    /// True while a frame of this turn lies in the chunk.
    pub(super) fn is_held(&self, chunk: usize) -> bool {
        self.owners.get(chunk) == Some(&Owner::Held)
    }

    /// Gives all that the turn holds to the kernel, one by one through `to`.
    pub(super) fn refill(&mut self, mut to: impl FnMut(usize)) {
        for chunk in self.held.drain(..).map(usize::from) {
            self.owners[chunk] = Owner::Filling;
            self.filling += 1;
            to(chunk);
        }
    }

    /// Chunks that can be filled to be sent.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// A chunk that will be sent; `None` when all are on their way.
    pub(super) fn take(&mut self) -> Option<usize> {
        let chunk = usize::from(self.free.pop()?);
        self.owners[chunk] = Owner::Sending;
        self.sending += 1;
        Some(chunk)
    }

    /// The kernel has sent a chunk, which is free now. False for one that it did not have.
    pub(super) fn complete(&mut self, chunk: usize) -> bool {
        let done = self.pass(chunk, Owner::Sending, Owner::Free);
        if let (true, Ok(number)) = (done, u16::try_from(chunk)) {
            self.sending -= 1;
            self.free.push(number);
        }
        done
    }

    /// Chunks that the kernel sends from.
    pub(super) fn sending(&self) -> usize {
        self.sending
    }

    /// True when every chunk is in exactly one place. Each call adds up the places; one of many
    /// looks at each chunk, because one that is in two of them or in none stays so.
    pub(super) fn is_consistent(&mut self) -> bool {
        self.looks = (self.looks + 1) % LOOK_EVERY;
        let all = self.filling + self.held.len() + self.free.len() + self.sending;
        all == self.owners.len() && (self.looks != 0 || self.matches_owners())
    }

    /// True when the chunks are where the lists and the counts say.
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
    fn a_chunk_that_the_kernel_does_not_have_does_not_come_back() {
        let mut ownership = UmemOwnership::new(2, 2);
        assert!(!ownership.receive(0), "never given away");
        ownership.refill(|_| {});
        assert!(ownership.receive(0) && !ownership.receive(0), "twice");
        assert!(!ownership.receive(2), "one to send from");
        assert!(!ownership.receive(4), "there is no such chunk");
        let sent = ownership.take().unwrap();
        assert!(ownership.complete(sent) && !ownership.complete(sent), "twice");
        assert!(!ownership.complete(0) && !ownership.complete(1), "one to receive into");
        assert!(ownership.is_consistent() && ownership.matches_owners());
    }

    #[test]
    fn a_chunk_in_two_places_is_seen_within_so_many_looks() {
        let mut ownership = UmemOwnership::new(2, 2);
        ownership.owners[0] = Owner::Free;
        let seen = (0..LOOK_EVERY).filter(|_| !ownership.is_consistent()).count();
        assert_eq!(seen, 1);
        ownership.held.pop();
        assert!(!ownership.is_consistent(), "one that is in no place is seen at once");
    }

    #[test]
    fn no_chunk_is_taken_twice() {
        let mut ownership = UmemOwnership::new(0, 3);
        let mut taken: Vec<_> = std::iter::from_fn(|| ownership.take()).collect();
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
                    2 => drop(ownership.take()),
                    _ => drop(ownership.complete(chunk)),
                }
                prop_assert!(ownership.is_consistent() && ownership.matches_owners());
            }
        }
    }
}
