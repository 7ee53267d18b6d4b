//! Which release's rules the macvlan of the running kernel follows.

use std::sync::{Mutex, PoisonError};

use umacvlan_core::{KernelRelease, ParentInfo, Semantics, Switch};
use umacvlan_netlink::macvlan_release;

use super::Control;
use super::error::Error;

/// What was found by trying, which is once in a process: the kernel does not change.
static FOUND: Mutex<Option<KernelRelease>> = Mutex::new(None);

/// The rules of the running kernel: those that were found by trying, else those of its name.
pub fn running_kernel() -> KernelRelease {
    let found = *FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    found.unwrap_or_else(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/osrelease");
        name.map_or_else(|_| KernelRelease::default(), |name| KernelRelease::of(&name))
    })
}

/// Tries the kernel's macvlan in a namespace of its own, unless this process has done so before. The
/// name of a release does not tell whether a distribution has taken over a change of a later one.
/// It takes about 50 ms.
///
/// # Errors
/// The kernel has no macvlan, or the caller may not make namespaces and interfaces.
pub fn try_running_kernel() -> Result<KernelRelease, umacvlan_netlink::Error> {
    // Others wait for the answer instead of asking too.
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    match *found {
        Some(known) => Ok(known),
        None => Ok(*found.insert(macvlan_release()?)),
    }
}

impl Control {
    /// A switch without sub-interfaces, with the rules of the running kernel where `semantics` asks for
    /// them.
    pub(super) fn new_switch(&self, info: ParentInfo, semantics: Semantics) -> Switch {
        let mut switch = Switch::new(info, semantics);
        switch.set_running_kernel(self.running);
        switch
    }

    /// Tries the kernel's macvlan, and follows its rules from now on, on all parents.
    ///
    /// # Errors
    /// As [`try_running_kernel`].
    pub(crate) fn try_running_kernel(&mut self) -> Result<KernelRelease, Error> {
        let running = try_running_kernel()?;
        self.running = running;
        for id in self.inventory.parent_ids() {
            let parent = &self.inventory[id];
            let switch = parent.switch;
            // A worker that has failed gets the rules when it is started again.
            let _ = parent.workers.tell(move |worker| {
                worker.switch_at_mut(switch).set_running_kernel(running);
            });
        }
        Ok(running)
    }
}
