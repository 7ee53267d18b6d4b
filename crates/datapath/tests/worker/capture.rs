//! Captures: every frame with what becomes of it, and a reader that does not read.

use std::sync::Arc;

use umacvlan_core::offload::Offloads;
use umacvlan_core::{DropReason, Mode, SubConfig};
use umacvlan_datapath::SwitchId;
use umacvlan_datapath::capture::{Batch, Capture, CaptureQueue, Fate, Point, Record, Selection};

use crate::bench::{Bench, frame, mac};

const ALL: [Point; 4] = [Point::FromLink, Point::FromWire, Point::ToLink, Point::ToWire];

fn everything() -> Selection {
    Selection {
        switch: SwitchId::UNTAGGED,
        sub: None,
        points: ALL.to_vec(),
        dropped: false,
        reason: None,
        filter: None,
        snaplen: 100,
    }
}

fn start(bench: &mut Bench, selection: Selection) -> Arc<CaptureQueue> {
    let queue = Arc::new(CaptureQueue::default());
    let capture = Capture { selection: Arc::new(selection), queue: Arc::clone(&queue) };
    assert!(bench.worker.capture(capture));
    queue
}

fn taken(queue: &CaptureQueue) -> Vec<(Record, Vec<u8>)> {
    let mut batch = Batch::default();
    queue.take(&mut batch);
    batch.frames().map(|(record, bytes)| (record, bytes.to_vec())).collect()
}

fn fates(queue: &CaptureQueue) -> Vec<(Point, Fate)> {
    taken(queue).into_iter().map(|(record, _)| (record.point, record.fate)).collect()
}

#[test]
fn every_frame_is_captured_with_what_becomes_of_it() {
    let mut bench = Bench::with_bridges(2);
    let queue = start(&mut bench, everything());
    let [a, b, far] = [1, 2, 9].map(mac);
    let two = bench.ports[1].id;
    let local = frame(b, a, 1);
    bench.ports[0].link.push(&local);
    bench.turn();
    let seen = taken(&queue);
    let expected = [(Point::FromLink, Fate::Deliver(Some(two))), (Point::ToLink, Fate::Send)];
    assert_eq!(seen.iter().map(|(it, _)| (it.point, it.fate)).collect::<Vec<_>>(), expected);
    assert_eq!((seen[0].0.sub, seen[1].0.sub), (Some(bench.ports[0].id), Some(two)));
    assert!(
        seen.iter().all(|(record, bytes)| *bytes == local && record.len as usize == local.len())
    );
    bench.ports[0].link.push(&frame(far, a, 2));
    bench.turn();
    assert_eq!(fates(&queue), [(Point::FromLink, Fate::Wire), (Point::ToWire, Fate::Send)]);
    bench.wire.push(&frame(far, mac(8), 3));
    bench.turn();
    assert_eq!(fates(&queue), [(Point::FromWire, Fate::Host)]);
    bench.wire.push(&frame(a, far, 4));
    bench.turn();
    let to_one = Fate::Deliver(Some(bench.ports[0].id));
    assert_eq!(fates(&queue), [(Point::FromWire, to_one), (Point::ToLink, Fate::Send)]);
    let mut broadcast = frame(a, far, 5);
    broadcast[..6].fill(0xff);
    bench.wire.push(&broadcast);
    bench.turn();
    let sent = (Point::ToLink, Fate::Send);
    assert_eq!(fates(&queue), [(Point::FromWire, Fate::Flood), sent, sent]);
    // Nothing was decided in another way, and nobody was sent anything twice.
    assert_eq!((bench.got(0).len(), bench.got(1).len()), (2, 2));
    assert_eq!(queue.left_out(), 0);
}

#[test]
fn drops_are_selected_by_their_reason_wherever_they_happen() {
    let mut bench = Bench::with_bridges(1);
    // Its port has room for few frames.
    let small =
        bench.add_as(SubConfig::new(umacvlan_core::MacAddr::ZERO, Mode::Bridge), Offloads::ALL, 4);
    let to = bench.ports[small].mac;
    let any = start(&mut bench, Selection { dropped: true, ..everything() });
    let reason = Some(DropReason::Full);
    let full = start(&mut bench, Selection { points: Vec::new(), reason, ..everything() });
    for number in 0..8 {
        bench.ports[0].link.push(&frame(to, mac(1), number));
    }
    bench.wire.push(&[0; 5]);
    bench.turn();
    let lost = bench.sub(small).lost[DropReason::Full];
    assert!(lost > 0);
    let refused = (Point::ToLink, Fate::Drop(DropReason::Full));
    let all = fates(&any);
    let is_refused = |seen: &&(Point, Fate)| **seen == refused;
    assert_eq!(all.iter().filter(is_refused).count() as u64, lost);
    assert!(all.contains(&(Point::FromWire, Fate::Drop(DropReason::Runt))), "{all:?}");
    assert_eq!(fates(&full), vec![refused; usize::try_from(lost).unwrap()]);
}

#[test]
fn a_link_and_a_filter_select_frames() {
    let mut bench = Bench::with_bridges(2);
    let sub = Some(bench.ports[1].id);
    let filter = Some("ether src 02:00:00:00:00:01".parse().unwrap());
    let of_link = start(&mut bench, Selection { sub, snaplen: 14, ..everything() });
    let filtered = start(&mut bench, Selection { filter, ..everything() });
    let [a, b] = [0, 1].map(|place| bench.ports[place].mac);
    bench.ports[0].link.push(&frame(b, a, 1));
    bench.ports[0].link.push(&frame(mac(9), a, 1));
    bench.ports[1].link.push(&frame(a, b, 2));
    bench.turn();
    let seen = taken(&of_link);
    assert_eq!(
        seen.iter().map(|(it, _)| it.point).collect::<Vec<_>>(),
        [Point::FromLink, Point::ToLink]
    );
    assert!(seen.iter().all(|(it, bytes)| bytes.len() == 14 && it.len > 14 && it.sub == sub));
    let from_a = taken(&filtered).iter().filter(|(_, bytes)| bytes[6..12] == a.octets()).count();
    assert_eq!(from_a, if a.to_string() == "02:00:00:00:00:01" { 4 } else { 0 });
}

#[test]
fn forwarding_goes_on_without_a_reader_and_counts_what_is_left_out() {
    let mut bench = Bench::with_bridges(2);
    let queue = start(&mut bench, Selection { snaplen: usize::MAX, ..everything() });
    let (to, from) = (bench.ports[1].mac, bench.ports[0].mac);
    let mut sent = 0;
    // Of three rounds each fills a part of the queue's 16 384 frames.
    for _ in 0..150 {
        for number in 0..64 {
            assert!(bench.ports[0].link.push(&frame(to, from, number)));
        }
        bench.turn();
        sent += bench.got(1).len() as u64;
    }
    assert_eq!(sent, 150 * 64);
    let kept = taken(&queue).len() as u64;
    assert!(kept < 2 * sent);
    assert_eq!(kept + queue.left_out(), 2 * sent);
    // There is room again.
    bench.ports[0].link.push(&frame(to, from, 0));
    bench.turn();
    assert_eq!(taken(&queue).len(), 2);
    queue.close("the end");
    bench.ports[0].link.push(&frame(to, from, 0));
    bench.turn();
    taken(&queue);
    bench.ports[0].link.push(&frame(to, from, 0));
    bench.turn();
    assert_eq!((taken(&queue).len(), bench.got(1).len()), (0, 3));
}
