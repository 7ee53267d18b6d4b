//! No header and frame that a container may write cause a panic, and a header that passes
//! validation can be segmented or completed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use umacvlan_core::offload::{
    Offloads, SEGMENT_BUFFER_LEN, VNET_LEN, VnetHeader, complete_checksum, insert_tag, segment, segment_count,
};

fuzz_target!(|data: &[u8]| {
    let Some((bytes, frame)) = data.split_first_chunk::<VNET_LEN>() else {
        return;
    };
    let mut header = VnetHeader::parse(bytes);
    let valid = header.validate(frame);
    let _ = Offloads::ALL.accepts(header, frame);
    let _ = segment_count(header, frame);

    if header.is_gso() {
        let mut scratch = Box::new([0; SEGMENT_BUFFER_LEN]);
        let mut emitted = 0;
        let result = segment(header, frame, &mut scratch, |unit| {
            assert!(unit.len() > VNET_LEN && unit[..VNET_LEN] == [0; VNET_LEN]);
            emitted += 1;
        });
        assert_eq!(result.map(drop), valid);
        assert_eq!(result.unwrap_or(0), emitted);
        assert!(valid.is_err() || segment_count(header, frame) == emitted);
    } else {
        let mut frame = frame.to_vec();
        let completed = complete_checksum(&mut header, &mut frame);
        assert!(valid.is_err() || completed.is_ok() && header.is_plain());
    }

    let mut slot = vec![0; 4];
    slot.extend_from_slice(data);
    if let Some(at) = insert_tag(&mut slot, 4, 0x88a8, 1) {
        assert_eq!(at, 0);
        assert_eq!(slot[VNET_LEN..VNET_LEN + 12], frame[..12]);
    }
});
