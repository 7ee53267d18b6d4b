//! Simplifies a frame.

use umacvlan_core::MacAddr;

use crate::exchange::TestFrame;
use crate::frames::untagged;
use crate::network::EXPERIMENT;

/// Variants of a frame, each of which is simpler in one way.
pub(crate) fn simpler(frame: &TestFrame) -> Vec<TestFrame> {
    let bytes = &frame.bytes;
    let mut tries = vec![untagged(bytes)];
    if bytes.len() >= 14 {
        let plain = [&bytes[..12], &EXPERIMENT.to_be_bytes(), &[0; 46]].concat();
        let mut short = bytes.clone();
        short.truncate(60);
        let mut broadcast = bytes.clone();
        broadcast[..6].copy_from_slice(&MacAddr::BROADCAST.octets());
        tries.extend([plain, short, broadcast]);
    }
    tries.retain(|simple| simple != bytes);
    let simple = |bytes| TestFrame { origin: frame.origin, bytes };
    tries.into_iter().map(simple).collect()
}
