//! Validation, checksums and segmentation of GSO packets, and GRO.

use std::hint::black_box;

use umacvlan_core::MacAddr;
use umacvlan_core::offload::{GroBuilder, SEGMENT_BUFFER_LEN, VNET_LEN, VnetHeader};

use crate::Round;
use crate::frames::{TCP_HEADERS, tcp, udp};

/// Work on one GSO packet, `times` in a round.
struct Repeated<W> {
    header: VnetHeader,
    frame: Vec<u8>,
    times: usize,
    work: W,
}

impl<W: FnMut(VnetHeader, &[u8]) -> usize> Round for Repeated<W> {
    fn run(&mut self) -> usize {
        let Self { header, frame, times, work } = self;
        (0..*times).map(|_| work(black_box(*header), black_box(frame))).sum()
    }

    fn frames(&self) -> usize {
        self.times
    }
}

/// Validates the header of a large TCP packet.
pub(crate) fn validate() -> Box<dyn Round> {
    let (header, frame) = tcp(60_000, 1448);
    assert_eq!(header.validate(&frame), Ok(()), "nothing would be measured");
    let work = |header: VnetHeader, frame: &[u8]| usize::from(header.validate(frame).is_ok());
    Box::new(Repeated { header, frame, times: 1024, work })
}

/// The checksum of a packet of 1500 bytes.
pub(crate) fn checksum() -> Box<dyn Round> {
    let (header, frame) = tcp(1514, 1448);
    let work = |_, frame: &[u8]| usize::from(umacvlan_core::offload::checksum(&frame[14..]));
    Box::new(Repeated { header, frame, times: 256, work })
}

/// Segments 64 KB of TCP; the GSO packet counts as one frame.
pub(crate) fn segment() -> Box<dyn Round> {
    let (header, frame) = tcp(TCP_HEADERS + 44 * 1448, 1448);
    let mut scratch = Box::new([0; SEGMENT_BUFFER_LEN]);
    let work = move |header, frame: &[u8]| {
        let mut bytes = 0;
        let done = umacvlan_core::offload::segment(header, frame, &mut scratch, |unit| {
            bytes += black_box(unit).len();
        });
        done.expect("the header is valid");
        bytes
    };
    Box::new(Repeated { header, frame, times: 8, work })
}

/// Datagrams of one flow to be merged.
struct Merging {
    frames: Vec<Vec<u8>>,
    unit: Vec<u8>,
}

impl Round for Merging {
    fn run(&mut self) -> usize {
        let (first, rest) = self.frames.split_first().expect("there are frames");
        let mut gro = GroBuilder::of(VnetHeader::PLAIN, first).expect("it is a datagram");
        for frame in rest {
            let unit = &mut self.unit;
            let merged = gro.push(unit, (VnetHeader::PLAIN, first), VnetHeader::PLAIN, frame);
            assert!(merged, "nothing would be measured");
        }
        gro.finish(&mut self.unit)
    }

    fn frames(&self) -> usize {
        self.frames.len()
    }
}

/// Merges thirty datagrams of 1024 bytes.
pub(crate) fn merge_udp() -> Box<dyn Round> {
    let [dst, src] = [1, 2].map(|n| MacAddr::new([2, 0, 0, 0, 0, n]));
    let frames = (1..=30).map(|id| udp(1024, dst, src, id)).collect();
    Box::new(Merging { frames, unit: vec![0; VNET_LEN + (1 << 16)] })
}
