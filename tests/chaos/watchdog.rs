//! [`Watchdog`]: ends the test if a command does not return, and says which.

use std::process::exit;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::spawn;
use std::time::Duration;

/// The most time that a command may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// A thread that is told what happens. It ends with this.
pub(crate) struct Watchdog(Sender<String>);

impl Watchdog {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = channel::<String>();
        spawn(move || {
            let mut last = String::new();
            loop {
                match receiver.recv_timeout(PATIENCE) {
                    Ok(what) => last = what,
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        eprintln!("this does not return: {last}");
                        exit(1);
                    }
                }
            }
        });
        Self(sender)
    }

    /// Notes what happens now.
    pub(crate) fn now(&self, what: &str) {
        // The thread waits as long as this exists.
        let _ = self.0.send(what.to_owned());
    }
}
