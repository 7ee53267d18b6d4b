//! [`SwitchedOff`]: receive offloads of a NIC that are off for a while.

use super::{Ethtool, ReceiveOffloads};

/// Offloads that were on and are off. Dropping this switches them on again.
#[derive(Debug)]
pub struct SwitchedOff {
    /// The present name of the interface.
    interface: String,
    which: ReceiveOffloads,
}

impl SwitchedOff {
    /// Switches off those of `which` that are on and can be switched.
    pub fn switch_off(interface: &str, which: ReceiveOffloads) -> Self {
        let which = Ethtool::open().and_then(|ethtool| ethtool.switch_off(interface, which));
        // A driver that refuses keeps them, and nothing has to be restored.
        Self { interface: interface.to_owned(), which: which.unwrap_or_default() }
    }

    /// Those that were on.
    pub fn which(&self) -> ReceiveOffloads {
        self.which
    }

    /// Notes that the interface has another name now.
    pub fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.interface);
    }
}

impl Drop for SwitchedOff {
    fn drop(&mut self) {
        let restore = |ethtool: Ethtool| ethtool.restore(&self.interface, self.which);
        // An interface that is gone has nothing to be restored.
        let _ = Ethtool::open().and_then(restore);
    }
}
