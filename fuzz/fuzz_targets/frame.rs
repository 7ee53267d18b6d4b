//! Any bytes are a frame or a runt, and no accessor of a frame panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use umacvlan_core::Frame;
use umacvlan_core::frame::HEADER_LEN;

fuzz_target!(|bytes: &[u8]| {
    let Some(frame) = Frame::new(bytes) else {
        assert!(bytes.len() < HEADER_LEN);
        return;
    };
    assert_eq!(frame.bytes(), bytes);
    assert_eq!(frame.dst().octets(), bytes[..6]);
    assert_eq!(frame.src().octets(), bytes[6..12]);
    assert_eq!(frame.ethertype().to_be_bytes(), bytes[12..14]);
    if let Some(tag) = frame.tag() {
        assert_eq!(tag.tpid, frame.ethertype());
        assert_eq!(tag.tci.to_be_bytes(), bytes[14..16]);
        assert!(tag.vid() < 4096);
    }
    let text = frame.src().to_string();
    assert_eq!(text.parse(), Ok(frame.src()));
});
