//! Where the next frame goes in a ring of frames of different lengths.

/// Where `len` bytes in one piece fit into `capacity` bytes whose oldest frame begins at `oldest`
/// and whose newest ends at `end` (`None`: the ring is empty): behind the newest, or at the start
/// again. Frames never fill the ring so far that its end meets its beginning.
#[inline]
pub(crate) fn room(occupied: Option<(usize, usize)>, capacity: usize, len: usize) -> Option<usize> {
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
        assert_eq!(room(None, 100, 100), Some(0));
        assert_eq!(room(None, 100, 101), None);
    }

    #[test]
    fn a_frame_that_does_not_fit_behind_goes_to_the_start() {
        assert_eq!(room(Some((40, 90)), 100, 10), Some(90));
        assert_eq!(room(Some((40, 90)), 100, 11), Some(0));
        assert_eq!(room(Some((40, 90)), 100, 40), None, "its end would meet the oldest");
    }

    #[test]
    fn a_ring_that_has_turned_over_fills_up_to_its_oldest() {
        assert_eq!(room(Some((40, 20)), 100, 19), Some(20));
        assert_eq!(room(Some((40, 20)), 100, 20), None);
    }
}
