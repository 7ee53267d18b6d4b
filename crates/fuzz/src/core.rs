//! Targets of the core: frames, vnet headers, and the switch beside its model.

use umacvlan_core::frame::HEADER_LEN;
use umacvlan_core::length_prefix::{FRAME_MAX, FrameReader};
use umacvlan_core::offload::{
    Offloads, SEGMENT_BUFFER_LEN, VNET_LEN, VnetError, VnetHeader, complete_checksum, insert_tag,
    segment, segment_count,
};
use umacvlan_core::vhost_user::{self, Header, MEMORY_MAX, PAYLOAD_MAX, RINGS, Region, Request};
use umacvlan_core::{Frame, FrameFilter};

use model::ops::{Op, Pair};

#[allow(dead_code, reason = "the property test of the core uses more of it")]
#[path = "../../core/tests/model/mod.rs"]
mod model;

/// A capture filter, and behind a zero byte the frame that it is compared with.
pub(crate) fn filter(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |&byte| byte == 0);
    let text = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let frame = parts.next().and_then(Frame::new);
    if let (Ok(filter), Some(frame)) = (text.parse::<FrameFilter>(), frame) {
        let inverse: Result<FrameFilter, _> = format!("not ({text})").parse();
        if let Ok(inverse) = inverse {
            assert_ne!(filter.matches(frame), inverse.matches(frame), "{text}");
        }
    }
}

/// Any bytes are a frame or a runt, and no accessor of a frame panics.
pub(crate) fn frame(bytes: &[u8]) {
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
}

/// The switch agrees with the model under any operations.
pub(crate) fn switch(bytes: &[u8]) {
    let mut pair = Pair::new();
    for code in bytes.as_chunks().0 {
        pair.step(&Op::decode(*code));
    }
}

/// No header and frame that a container may write cause a panic, and a header that passes
/// validation can be segmented or completed.
pub(crate) fn vnet(data: &[u8]) {
    let Some((bytes, frame)) = data.split_first_chunk::<VNET_LEN>() else {
        return;
    };
    let mut header = VnetHeader::parse(bytes);
    let valid = header.validate(frame);
    // Any answer is right, as long as there is one.
    let _ = (Offloads::ALL.accepts(header, frame), segment_count(header, frame));

    if header.is_gso() {
        let mut scratch = Box::new([0; SEGMENT_BUFFER_LEN]);
        let mut emitted = 0;
        let result = segment(header, frame, &mut scratch, |unit| {
            assert!(unit.len() > VNET_LEN && unit[..VNET_LEN] == [0; VNET_LEN]);
            emitted += 1;
        });
        match valid {
            // In a tunnel: it may be one that is not known.
            Err(VnetError::Tunnel) => assert!(header.is_tunneled(frame)),
            _ => assert_eq!(result.map(drop), valid),
        }
        assert_eq!(result.unwrap_or(0), emitted);
        assert!(result.is_err() || segment_count(header, frame) == emitted);
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
}

/// The bytes, received in pieces whose lengths are the first ones: frames, or the end of the stream.
pub(crate) fn length_prefix(bytes: &[u8]) {
    let Some((pieces, mut stream)) = bytes.split_at_checked(4) else {
        return;
    };
    let mut reader = FrameReader::default();
    for piece in pieces.iter().cycle() {
        if stream.is_empty() {
            return;
        }
        let room = reader.room();
        let len = stream.len().min(room.len()).min(usize::from(*piece) * 64 + 1);
        assert!(len > 0, "no room for the rest of a frame");
        room[..len].copy_from_slice(&stream[..len]);
        reader.received(len);
        stream = &stream[len..];
        loop {
            match reader.take() {
                Ok(Some(frame)) => assert!((1..=FRAME_MAX).contains(&frame.len())),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// A header and a payload, behind the number of descriptors, are a request with numbers that make sense,
/// or an error.
pub(crate) fn vhost_user(bytes: &[u8]) {
    let Some(([count], bytes)) = bytes.split_first_chunk() else {
        return;
    };
    let Some((header, payload)) = bytes.split_first_chunk::<{ vhost_user::HEADER_LEN }>() else {
        return;
    };
    let Ok(header) = Header::parse(header) else {
        return;
    };
    assert!(header.size <= PAYLOAD_MAX);
    let payload = &payload[..payload.len().min(header.size)];
    match Request::parse(header, payload, usize::from(*count)) {
        Ok(Request::SetMemTable(regions)) => {
            assert_eq!(regions.len(), usize::from(*count));
            assert!(regions.iter().map(|region| region.size).sum::<u64>() <= MEMORY_MAX);
            let ends = |it: &Region| it.guest.checked_add(it.size);
            assert!(regions.iter().all(|region| region.size > 0 && ends(region).is_some()));
        }
        Ok(Request::SetVringNum(ring, size)) => assert!(ring < RINGS && size.is_power_of_two()),
        Ok(_) | Err(_) => {}
    }
}
