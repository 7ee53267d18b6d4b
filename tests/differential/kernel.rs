//! The network with the kernel's macvlan.

use umacvlan_core::Mode;
use umacvlan_netlink::{MacaddrChange, Macvlan, MacvlanChange};

use crate::model::{Change, Plan, State, SubState};
use crate::network::{Network, errno};

pub(crate) fn create(network: &mut Network, plan: &Plan) -> Result<(), i32> {
    let wanted = Macvlan {
        flags: flags(plan.nodst),
        macaddrs: plan.sources.clone(),
        ..Macvlan::new(number(plan.mode))
    };
    let netns = plan.guest.then_some(&network.guests);
    let parent = network.parent;
    errno(network.here.add_macvlan(&plan.name, parent, &wanted, netns))?;
    if plan.mode == Mode::Passthru {
        return Ok(());
    }
    let rtnl = network.rtnl(plan.guest);
    let link = rtnl.link(&plan.name).unwrap().expect("it was made");
    errno(rtnl.set_mac(link.index, plan.mac))
}

pub(crate) fn configure(network: &mut Network, sub: usize, change: &Change) -> Result<(), i32> {
    let mut wanted = MacvlanChange::default();
    match change {
        Change::AddSource(_, mac) => wanted.macaddr = Some(MacaddrChange::Add(*mac)),
        Change::Mode(_, mode) => wanted.mode = Some(number(*mode)),
        Change::Nodst(_, on) => wanted.flags = Some(flags(*on)),
        Change::RemoveSource(_, mac) => wanted.macaddr = Some(MacaddrChange::Del(*mac)),
        Change::Sources(_, macs) if macs.is_empty() => wanted.macaddr = Some(MacaddrChange::Flush),
        Change::Sources(_, macs) => wanted.macaddr = Some(MacaddrChange::Set(macs.clone())),
        other => unreachable!("{other:?} is done on the interface"),
    }
    network.on(sub, |rtnl, index| rtnl.change_macvlan(index, &wanted))
}

pub(crate) fn state(network: &mut Network) -> State {
    let subs = (0..network.subs.len()).map(|sub| {
        let macvlan = network.link(sub).macvlan.expect("it is one");
        let mut sources = macvlan.macaddrs;
        sources.sort_unstable();
        SubState {
            mode: mode(macvlan.mode),
            nodst: macvlan.flags & NODST != 0,
            sources,
            ..network.netdev(sub)
        }
    });
    let subs = subs.collect();
    State { parent: network.parent_mac(), subs }
}

const fn flags(nodst: bool) -> u16 {
    if nodst { NODST } else { 0 }
}

/// `MACVLAN_MODE_*` of `linux/if_link.h`.
const fn number(mode: Mode) -> u32 {
    match mode {
        Mode::Private => 1,
        Mode::Vepa => 2,
        Mode::Bridge => 4,
        Mode::Passthru => 8,
        Mode::Source => 16,
    }
}

fn mode(wanted: u32) -> Mode {
    let mut all = Mode::ALL.into_iter();
    all.find(|&mode| number(mode) == wanted).expect("a mode")
}

/// `MACVLAN_FLAG_NODST` of `linux/if_link.h`.
const NODST: u16 = 2;
