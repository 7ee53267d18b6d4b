//! Captures of any bytes, for `umacvlan-fuzz`.

use std::io::Cursor;

use super::capture::frames;
use super::vlan::VlanStripper;

/// Reads a file as a capture, and the tags of each frame.
pub fn capture(bytes: &[u8]) {
    let mut vlan = VlanStripper::new("eth0.10.20");
    let mut count = 0;
    // Damage is an error, after the frames before it.
    let _ = frames(Cursor::new(bytes.to_vec()), |record| {
        assert!(record.bytes.len() <= record.length && record.bytes.len() <= bytes.len());
        if let Some(stripped) = vlan.strip(record) {
            assert!(stripped.bytes.len() <= stripped.length);
        }
        count += 1;
        Ok(())
    });
    assert!(count <= bytes.len(), "more frames than bytes");
}
