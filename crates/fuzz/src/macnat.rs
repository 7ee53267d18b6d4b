//! The target of the translation between links and the one address of their parent.

use std::time::Instant;

use umacvlan_core::offload::{VNET_LEN, VnetHeader};
use umacvlan_core::{Frame, MacAddr, SubIndex};
use umacvlan_macnat::{Change, Incoming, MacNat};

const PARENT: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0xff]);

/// A frame of a link behind its vnet header: it keeps its length, ARP and ND name the parent, and its answer
/// finds the link.
pub(crate) fn frames(bytes: &[u8]) {
    let Some((header, bytes)) = bytes.split_first_chunk::<VNET_LEN>() else {
        return;
    };
    let Some(frame) = Frame::new(bytes) else {
        return;
    };
    let (header, Some(link)) = (VnetHeader::parse(header), SubIndex::from_index(3)) else {
        return;
    };
    let mut nat = MacNat::new();
    let learned = nat.learn(link, frame, Instant::now());
    assert!(learned.is_ok(), "nobody else has an address: {learned:?}");
    for neighbour in nat.neighbours() {
        assert_eq!((neighbour.link, neighbour.mac), (link, frame.src()));
    }
    let mut changed = bytes.to_vec();
    if let Ok(Some(change)) = Change::of(PARENT, frame) {
        change.apply(PARENT, header, &mut changed);
        assert_eq!(changed[..12], bytes[..12], "addresses are the caller's");
        if change == Change::Arp {
            assert_eq!(changed[22..28], PARENT.octets());
        }
        let again = Frame::new(&changed).map(|frame| Change::of(PARENT, frame));
        assert!(matches!(again, Some(Ok(_))), "what has left could leave again");
    }
    // The same frame as if it came from the wire.
    changed[..6].copy_from_slice(&PARENT.octets());
    changed[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    match nat.incoming(PARENT, &mut changed) {
        Incoming::Link => assert_eq!(changed[..6], frame.src().octets()),
        Incoming::Host => assert_eq!(changed[..6], PARENT.octets()),
        Incoming::Group => assert_eq!(changed[0] & 1, 1),
        Incoming::Other | Incoming::Reflected => panic!("it is for the parent, from somebody else"),
    }
}
