//! Numbered frames between other interfaces, which show whether a frame is lost or duplicated.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use umacvlan_core::Mode;

use crate::common::{Lab, PATIENCE, Place, all, frame, losses, mac, next, reaches, send};

/// Pause between frames, for a few thousand frames a second: no queue gets full.
const PACE: Duration = Duration::from_micros(200);

/// The number of frames, set when no more are sent.
type Sent = Arc<OnceLock<u32>>;

/// A sender that counts and a receiver that checks the numbers, for each of two paths.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<u32>>,
    receivers: Vec<(JoinHandle<Vec<u32>>, Sent)>,
    _places: [Place; 2],
}

impl Traffic {
    /// From the wire to a sub-interface `t1`, and from there to its sibling `t2`.
    pub(crate) fn start(lab: &Lab) -> Self {
        let places = [Place::new(), Place::new()];
        lab.add("t1", 0x71, Mode::Bridge, &places[0]);
        lab.add("t2", 0x72, Mode::Bridge, &places[1]);
        let stop = Arc::new(AtomicBool::new(false));
        let (far, one) = (lab.far.socket("x0"), places[0].socket("t1"));
        let (back, two) = (places[0].socket("t1"), places[1].socket("t2"));
        reaches(&far, &one, &frame(mac(0x71), mac(0xff), 0));
        reaches(&back, &two, &frame(mac(0x72), mac(0x71), 0));
        // Frames that were sent more than once before the first arrived.
        let _ = (all(&one), all(&two));
        let ways = [(far, one, 0xff, 0x71), (back, two, 0x71, 0x72)];
        let (mut senders, mut receivers) = (Vec::new(), Vec::new());
        for (from, to, source, target) in ways {
            let end = Arc::clone(&stop);
            senders.push(thread::spawn(move || count(&from, source, target, &end)));
            let sent = Sent::default();
            let last = Arc::clone(&sent);
            receivers.push((thread::spawn(move || watch(&to, &last)), sent));
        }
        Self { stop, senders, receivers, _places: places }
    }

    /// Ends the traffic, and asserts that every frame arrived once and in order.
    pub(crate) fn ends_whole(self, lab: &Lab) {
        self.stop.store(true, Ordering::Relaxed);
        for (sender, (receiver, last)) in self.senders.into_iter().zip(self.receivers) {
            let sent = sender.join().unwrap();
            last.set(sent).unwrap();
            let arrived = receiver.join().unwrap();
            eprintln!("frames of the others: {sent} sent, {} arrived", arrived.len());
            assert!(sent > 10, "there was no traffic");
            let wanted = 1..=sent;
            assert!(arrived.into_iter().eq(wanted), "{}", losses(&lab.parent()));
        }
    }
}

/// Sends numbered frames until told to stop, and returns how many.
fn count(socket: &OwnedFd, from: u8, to: u8, stop: &AtomicBool) -> u32 {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        send(socket, &frame(mac(to), mac(from), number));
        thread::sleep(PACE);
    }
    number
}

/// The numbers of the received frames, up to the last one sent: on a busy machine hundreds may be
/// queued before it.
fn watch(socket: &OwnedFd, sent: &OnceLock<u32>) -> Vec<u32> {
    let mut numbers = Vec::new();
    loop {
        let last = sent.get();
        let time = if last.is_some() { PATIENCE } else { Duration::from_millis(100) };
        let number = next(socket, time);
        numbers.extend(number);
        if last.is_some() && (number.is_none() || number.as_ref() == last) {
            break;
        }
    }
    // Frames behind the last one are duplicates.
    numbers.extend(all(socket));
    numbers
}
