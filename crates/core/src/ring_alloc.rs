//! Allocation in a byte ring that stores frames of different lengths, each in one piece.

/// Returns where `len` contiguous bytes fit into a ring of `capacity` bytes: behind the newest frame
/// or at the start of the ring. `occupied` is the start of the oldest frame and the end of the
/// newest (`None`: the ring is empty). A ring is never filled so far that its end meets its start.
#[inline]
pub fn find_gap(occupied: Option<(usize, usize)>, capacity: usize, len: usize) -> Option<usize> {
    let Some((oldest, end)) = occupied else {
        return (len <= capacity).then_some(0);
    };
    if end <= oldest {
        return (end + len < oldest).then_some(end);
    }
    if end + len <= capacity {
        return Some(end);
    }
    (len < oldest).then_some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_ring_begins_at_its_start() {
        assert_eq!(find_gap(None, 100, 100), Some(0));
        assert_eq!(find_gap(None, 100, 101), None);
    }

    #[test]
    fn a_frame_that_does_not_fit_behind_the_newest_goes_to_the_start() {
        assert_eq!(find_gap(Some((40, 90)), 100, 10), Some(90));
        assert_eq!(find_gap(Some((40, 90)), 100, 11), Some(0));
        assert_eq!(find_gap(Some((40, 90)), 100, 40), None, "its end would meet the oldest");
    }

    #[test]
    fn a_wrapped_ring_fills_up_to_its_oldest_frame() {
        assert_eq!(find_gap(Some((40, 20)), 100, 19), Some(20));
        assert_eq!(find_gap(Some((40, 20)), 100, 20), None);
    }
}
