//! Reading valid and damaged captures, and the outcomes of their frames.

use std::io::Cursor;

use proptest::prelude::*;

use super::capture::{self, Record};
use super::replayer::{Entry, Origin, Replayer};
use super::tally::Tally;
use crate::offline_switch::{Assumptions, Decision, OfflineSwitch, from_config};
use crate::pcapng::{self, Direction, Packet};
use umacvlan_config::Config;

/// A frame that was read: time, length, captured bytes.
type Kept = (u64, usize, Vec<u8>);

/// The frames of a file, and how reading it ended.
fn read(file: &[u8]) -> (Vec<Kept>, Result<(), String>) {
    let mut frames = Vec::new();
    let done = capture::frames(Cursor::new(file.to_vec()), |record| {
        frames.push((record.time, record.length, record.bytes.to_vec()));
        Ok(())
    });
    (frames, done.map_err(|error| format!("{error:#}")))
}

fn whole(file: &[u8]) -> Vec<Kept> {
    let (frames, done) = read(file);
    assert_eq!(done, Ok(()));
    frames
}

fn error(file: &[u8]) -> String {
    read(file).1.unwrap_err()
}

/// Writes numbers in one order of bytes.
#[derive(Clone, Copy)]
struct Order {
    big: bool,
}

const ORDERS: [Order; 2] = [Order { big: false }, Order { big: true }];

impl Order {
    fn put(self, file: &mut Vec<u8>, bytes: &[u8]) {
        match self.big {
            true => file.extend(bytes),
            false => file.extend(bytes.iter().rev()),
        }
    }

    fn words(self, numbers: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        numbers.iter().for_each(|number| self.put(&mut bytes, &number.to_be_bytes()));
        bytes
    }

    fn halves(self, numbers: &[u16]) -> Vec<u8> {
        let mut bytes = Vec::new();
        numbers.iter().for_each(|number| self.put(&mut bytes, &number.to_be_bytes()));
        bytes
    }

    /// A pcap file with one frame of 20 bytes, of which `captured` are there.
    fn pcap(self, magic: u32, fraction: u32, link_type: u32, captured: u32) -> Vec<u8> {
        let mut file = self.words(&[magic]);
        file.extend(self.halves(&[2, 4]));
        file.extend(self.words(&[0, 0, 65535, link_type]));
        file.extend(self.words(&[7, fraction, captured, 20]));
        file.extend((0..20).take(captured as usize));
        file
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 12).unwrap();
        [&self.words(&[kind, length])[..], body, &self.words(&[length])].concat()
    }

    fn section(self) -> Vec<u8> {
        let body = [self.words(&[0x1a2b_3c4d]), self.halves(&[1, 0]), vec![0xff; 8]].concat();
        self.block(0x0a0d_0d0a, &body)
    }

    fn interface(self, link_type: u16, snaplen: u32, options: &[u8]) -> Vec<u8> {
        let body = [&self.halves(&[link_type, 0])[..], &self.words(&[snaplen]), options].concat();
        self.block(1, &body)
    }

    fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let mut option = self.halves(&[code, u16::try_from(value.len()).unwrap()]);
        option.extend(value);
        option.resize(option.len().next_multiple_of(4), 0);
        option
    }

    /// An enhanced packet of 16 bytes.
    fn packet(self, interface: u32, stamp: u64) -> Vec<u8> {
        let [high, low] =
            [stamp >> 32, stamp & 0xffff_ffff].map(|half| u32::try_from(half).unwrap());
        let body = [self.words(&[interface, high, low, 16, 16]), (0..16).collect()].concat();
        self.block(6, &body)
    }
}

#[test]
fn pcap_is_read_in_both_orders_and_resolutions() {
    for order in ORDERS {
        for (magic, fraction, time) in
            [(0xa1b2_c3d4, 5, 7_000_005_000), (0xa1b2_3c4d, 5, 7_000_000_005)]
        {
            let frames = whole(&order.pcap(magic, fraction, 1, 20));
            assert_eq!(frames, [(time, 20, (0..20).collect())]);
        }
    }
}

#[test]
fn a_truncated_frame_keeps_its_length() {
    let frames = whole(&ORDERS[0].pcap(0xa1b2_c3d4, 0, 1, 15));
    assert_eq!(frames, [(7_000_000_000, 20, (0..15).collect())]);
}

#[test]
fn the_fcs_is_removed() {
    // Two times 16 bits, as the header says.
    let file = ORDERS[0].pcap(0xa1b2_c3d4, 0, 0x2400_0001, 20);
    assert_eq!(whole(&file)[0].1, 16);
    assert_eq!(whole(&file)[0].2.len(), 16);
}

#[test]
fn sections_and_interfaces_have_their_own_clocks() {
    let mut file = Vec::new();
    for order in ORDERS {
        file.extend(order.section());
        file.extend(order.interface(1, 0, &[]));
        let offset: Vec<u8> = match order.big {
            true => 3_i64.to_be_bytes().to_vec(),
            false => 3_i64.to_le_bytes().to_vec(),
        };
        let options = [order.option(9, &[0x81]), order.option(14, &offset), vec![0; 4]].concat();
        file.extend(order.interface(1, 0, &options));
        file.extend(order.packet(0, 5));
        // Halves of a second, after the third.
        file.extend(order.packet(1, 5));
    }
    let times: Vec<u64> = whole(&file).iter().map(|frame| frame.0).collect();
    assert_eq!(times, [5000, 5_500_000_000, 5000, 5_500_000_000]);
}

#[test]
fn simple_and_obsolete_packets_are_frames_too() {
    for order in ORDERS {
        let mut file = order.section();
        file.extend(order.interface(1, 14, &[]));
        file.extend(order.packet(0, 9));
        let simple = [order.words(&[60]), (0..14).collect(), vec![0; 2]].concat();
        file.extend(order.block(3, &simple));
        let numbers = [order.halves(&[0, 0]), order.words(&[0, 8, 14, 99])].concat();
        let obsolete = [numbers, (0..14).collect(), vec![0; 2]].concat();
        file.extend(order.block(2, &obsolete));
        // Unknown blocks are skipped.
        file.extend(order.block(0x0bad_0bad, &[1, 2, 3, 4]));
        let frames = whole(&file);
        let head: Vec<u8> = (0..14).collect();
        assert_eq!(frames[1..], [(9000, 60, head.clone()), (8000, 99, head)]);
    }
}

#[test]
fn frames_of_other_link_types_are_refused() {
    let told = error(&ORDERS[0].pcap(0xa1b2_c3d4, 0, 113, 20));
    assert!(told.starts_with("byte 0: frames of link type 113, expected Ethernet (1)"), "{told}");
    let order = ORDERS[0];
    let mut file =
        [order.section(), order.interface(1, 0, &[]), order.interface(127, 0, &[])].concat();
    // Nothing has come from it yet.
    assert_eq!(whole(&file), []);
    let at = file.len();
    file.extend(order.packet(1, 0));
    assert!(error(&file).starts_with(&format!("byte {at}: frames of link type 127")));
}

#[test]
fn damage_is_reported_with_its_position_after_the_frames_before_it() {
    let order = ORDERS[1];
    let sound = [order.section(), order.interface(1, 0, &[]), order.packet(0, 1)].concat();
    let at = sound.len();
    for (rest, words) in [
        (order.packet(1, 1), "interface 1, which nothing describes"),
        ([order.words(&[6, 0x7fff_fff0]), vec![0; 5 << 20]].concat(), "this is no record"),
        (order.packet(0, 1)[..30].to_vec(), "the file ends within this record"),
        (order.words(&[6, 8, 8, 0, 0, 0, 0, 0]), "this is no record"),
        (order.words(&[6, 0x7fff_fff0, 0, 0, 0]), "the file ends within this record"),
        (order.words(&[1, 20, 1 << 16, 0, 0]), "this is no record"),
    ] {
        let (frames, done) = read(&[&sound[..], &rest].concat());
        let told = done.unwrap_err();
        assert!(told.starts_with(&format!("byte {at}: ")) && told.contains(words), "{told}");
        assert_eq!(frames.len(), 1);
    }
}

#[test]
fn other_files_are_refused() {
    for file in [&b""[..], b"abc", b"no capture at all, but long enough for a header"] {
        assert!(!error(file).is_empty());
    }
    assert_eq!(error(b"no capture at all, but long enough"), "it is neither pcap nor pcapng");
    assert!(error(&ORDERS[0].section()[..9]).contains("header of the file"));
}

/// A small network of all modes that share a parent; a link is down, one has a small MTU.
fn offline() -> OfflineSwitch {
    let text = "[link.a]\nparent = \"p\"\nmode = \"bridge\"\naddress = \"02:00:00:00:00:01\"\n\
                [link.b]\nparent = \"p\"\nmode = \"bridge\"\naddress = \"02:00:00:00:00:02\"\nmtu = 68\n\
                [link.c]\nparent = \"p\"\nmode = \"private\"\naddress = \"02:00:00:00:00:03\"\n\
                [link.d]\nparent = \"p\"\nmode = \"source\"\naddress = \"02:00:00:00:00:04\"\n\
                macaddr = [\"02:00:00:00:00:01\", \"02:00:00:00:00:07\"]\nnodst = true\n\
                [link.e]\nparent = \"p\"\naddress = \"02:00:00:00:00:05\"\nup = false\n\
                [link.f]\nparent = \"p\"\naddress = \"02:00:00:00:00:06\"\nbcqueuelen = 0\n";
    let config = Config::parse("test", text, &[]).unwrap().config;
    from_config(&config, None, &Assumptions::default()).unwrap()
}

/// A frame to and from addresses of that network, or near it.
fn arbitrary_frame() -> impl Strategy<Value = (u8, u8, u8, usize, usize)> {
    let length = prop_oneof![0..20_usize, Just(60), Just(87), Just(1600)];
    (0..10_u8, 0..10_u8, any::<u8>(), length, 0..1700_usize)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(
        frames in prop::collection::vec(
            (any::<u64>(), 0..2000_usize, prop::collection::vec(any::<u8>(), 0..200), "[a-z ]{0,9}"),
            0..20,
        ),
    ) {
        let mut file = Vec::new();
        pcapng::section(&mut file);
        pcapng::interface_block(&mut file, "eth0");
        pcapng::interface_block(&mut file, "a name");
        for (time, longer, bytes, comment) in &frames {
            let length = bytes.len() + longer;
            let direction = [None, Some(Direction::Inbound), Some(Direction::Outbound)][length % 3];
            let interface = 1;
            let packet = Packet { interface, time: *time, length, bytes, direction, comment };
            pcapng::packet(&mut file, packet);
            pcapng::statistics(&mut file, 0, *time, 7, 1);
        }
        let kept: Vec<Kept> = frames
            .into_iter()
            .map(|(time, longer, bytes, _)| (time, bytes.len() + longer, bytes))
            .collect();
        prop_assert_eq!(whole(&file), kept);
    }

    #[test]
    fn a_damaged_file_ends_in_frames_or_an_error(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
        kind in 0..4_usize,
    ) {
        let order = ORDERS[kind % 2];
        let mut file = match kind {
            0 | 1 => order.pcap(0xa1b2_c3d4, 5, 1, 20),
            _ => {
                let options = order.option(9, &[9]);
                let simple = order.block(3, &order.words(&[4, 0]));
                let obsolete = order.block(2, &order.words(&[0, 0, 0, 4, 4, 0]));
                let parts =
                    [order.section(), order.interface(1, 0, &options), order.packet(0, 1), simple, obsolete];
                parts.concat()
            }
        };
        for (place, byte) in damage {
            let place = place.index(file.len());
            file[place] = byte;
        }
        file.truncate(cut.index(file.len()) + 1);
        let _ = read(&file);
    }

    #[test]
    fn any_bytes_behind_a_header_end_in_frames_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        kind in 0..12_u32,
        big in any::<bool>(),
    ) {
        let order = Order { big };
        let mut file = [order.section(), order.interface(1, 0, &[])].concat();
        file.extend(order.block(kind, &bytes[..bytes.len() / 4 * 4]));
        file.extend(&bytes);
        let _ = read(&file);
        let _ = read(&bytes);
    }

    #[test]
    fn every_frame_has_one_outcome_and_the_counters_balance(
        frames in prop::collection::vec(arbitrary_frame(), 0..60),
        gso in any::<bool>(),
    ) {
        let offline = offline();
        let mut replayer = Replayer::new(&offline, Origin::Auto, gso);
        let mut tally = Tally::new(&offline);
        for (dst, src, kind, length, captured) in frames {
            let mac = |n: u8| if n == 9 { [0xff; 6] } else { [2, 0, 0, 0, 0, n] };
            let mut bytes = [&mac(dst)[..], &mac(src), &[0x88, kind & 8]].concat();
            bytes.resize(length, 0);
            bytes.truncate(captured);
            let record = Record { time: 0, length, bytes: &bytes };
            let (entry, outcome) = replayer.replay(&record);
            let goes = outcome.host || outcome.wire || !outcome.to.is_empty();
            // A frame for a full broadcast queue still goes to the host.
            let dropped = matches!(outcome.decision, Decision::Drop(_)) && !outcome.host;
            prop_assert!(goes != (dropped || outcome.decision == Decision::Unknown), "{outcome:?}");
            tally.count(&record, entry, outcome);
        }
        prop_assert!(tally.is_balanced());
    }
}

#[test]
fn a_truncated_frame_is_measured_by_its_full_length() {
    let offline = offline();
    let mut replayer = Replayer::new(&offline, Origin::Auto, false);
    let bytes = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]].concat();
    let bytes = [&bytes[..], &[8, 0]].concat();
    let mut decision = |length| {
        let (entry, outcome) = replayer.replay(&Record { time: 0, length, bytes: &bytes });
        assert!(matches!(entry, Entry::Sub(_)));
        outcome.decision.name()
    };
    // Between siblings the parent's MTU counts, with a header and a tag.
    assert_eq!([decision(1518), decision(1519)], ["deliver", "drop"]);
}

#[test]
fn a_frame_of_the_host_goes_to_the_wire_past_the_switch() {
    let offline = offline();
    let parent = offline.switch.parent().mac;
    let mut replayer = Replayer::new(&offline, Origin::Auto, false);
    let bytes = [&[0xff; 6][..], &parent.octets(), &[8, 6]].concat();
    let record = Record { time: 0, length: 14, bytes: &bytes };
    let (entry, outcome) = replayer.replay(&record);
    assert_eq!((entry, outcome.decision, outcome.wire), (Entry::Host, Decision::Wire, true));
}
