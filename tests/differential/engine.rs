//! The network with our engine.

use std::path::PathBuf;
use std::time::Duration;
use umacvlan_core::options::{Backend, PortKind, ProgramKind};

use umacvlan_core::{DropReason, MacvlanFlag, MacvlanFlags, MacvlanSettings, Mode, Semantics};
use umacvlan_engine::engine::{
    self, Engine, LinkAttribute, ParentOptions, ParentStatus, ProgramPlace, ProgramPort,
    ProgramStatus, SubId, SubOptions,
};
use umacvlan_engine::error::Error;
use umacvlan_engine::try_running_kernel;
use umacvlan_sys::netns::Netns;
use umacvlan_sys::port_socket::SocketOwner;
use umacvlan_testkit::Scratch;

use crate::end::End;
use crate::model::{Change, Plan, State, SubState};
use crate::network::{Driver, Network};

/// An engine with one parent.
pub(crate) struct EngineSide {
    pub(crate) engine: Engine,
    /// The parent's name.
    parent: &'static str,
    semantics: Semantics,
    host_gets_all: bool,
    backend: Backend,
    port: PortKind,
    /// The sockets of programs.
    sockets: Scratch,
}

impl EngineSide {
    pub(crate) fn start(
        inside: &Netns,
        parent: &'static str,
        semantics: Semantics,
        host_gets_all: bool,
        (backend, port): (Backend, PortKind),
    ) -> Self {
        // The release's name does not tell what a distribution has taken over of a later one.
        try_running_kernel().unwrap();
        let engine = inside.run(Engine::start).unwrap().unwrap();
        let sockets = Scratch::new();
        let side = Self { engine, parent, semantics, host_gets_all, backend, port, sockets };
        side.attach();
        side
    }

    pub(crate) fn attach(&self) {
        let options = ParentOptions {
            name: self.parent.to_owned(),
            semantics: self.semantics,
            host_gets_all: self.host_gets_all,
            backend: self.backend,
            ..ParentOptions::default()
        };
        self.engine.add_parent(options).unwrap();
    }

    pub(crate) fn detach(&self) {
        self.engine.remove_parent(self.parent).unwrap();
    }

    pub(crate) fn status(&self) -> ParentStatus {
        let mut all = self.engine.status().unwrap();
        assert_eq!(all.len(), 1, "it has one parent");
        all.remove(0)
    }

    /// True when no frame is on its way and every frame has exactly one fate.
    pub(crate) fn is_at_rest(&self) -> bool {
        let counters = self.status().counters;
        counters.pending_floods == 0 && counters.is_balanced()
    }

    /// Asserts that every frame was counted and none was lost to a full queue.
    pub(crate) fn assert_conserved(&self) {
        let status = self.status();
        assert!(status.counters.is_balanced(), "{:#?}", status.counters);
        assert_eq!(status.ring_drops, 0, "the uplink's ring was full");
        for sub in &status.subs {
            assert_eq!(sub.queue_drops, 0, "the queue of {} was full", sub.name);
        }
        for (_, sub) in &status.counters.subs {
            assert_eq!(sub.lost[DropReason::Full], 0, "a TAP was full");
        }
    }

    /// Waits for an event of the engine, but not for long: an interface may still change after the
    /// event.
    pub(crate) fn await_event(&self) {
        let _ = self.engine.events().recv_timeout(Duration::from_millis(2));
    }

    pub(crate) fn create(&self, plan: &Plan, guests: &Netns) -> Result<(), i32> {
        let options = SubOptions {
            name: plan.name.clone(),
            mac: Some(plan.mac),
            settings: MacvlanSettings {
                flags: MacvlanFlags::default().with(MacvlanFlag::Nodst, plan.nodst),
                sources: plan.sources.clone(),
                ..MacvlanSettings::new(plan.mode)
            },
            netns: (plan.guest && plan.program.is_none()).then(|| guests.try_clone().unwrap()),
            program: plan.program.map(|kind| ProgramPort {
                kind,
                place: match kind {
                    ProgramKind::Tap => {
                        ProgramPlace::Interface { name: plan.name.clone(), former: None }
                    }
                    _ => ProgramPlace::Listen(self.socket(&plan.name)),
                },
                owner: SocketOwner::default(),
            }),
            // Of four in a row one is a TAP, so that both kinds hear each other.
            port: if plan.mac.octets()[5] % 4 == 3 { PortKind::Tap } else { self.port },
            ..SubOptions::default()
        };
        errno(self.engine.add_sub(self.parent, options).map(drop))
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), i32> {
        errno(self.engine.remove_sub(self.number(name)))
    }

    pub(crate) fn configure(&self, name: &str, change: &Change) -> Result<(), i32> {
        let wanted = match change {
            Change::AddSource(_, mac) => engine::SubChange::AddSource(*mac),
            Change::Mode(_, mode) => engine::SubChange::Mode(*mode),
            Change::Nodst(_, on) => engine::SubChange::Flag(MacvlanFlag::Nodst, *on),
            Change::RemoveSource(_, mac) => engine::SubChange::RemoveSource(*mac),
            Change::Sources(_, macs) => engine::SubChange::Sources(macs.clone()),
            other => unreachable!("{other:?} is done on the interface"),
        };
        errno(self.engine.change_sub(self.number(name), vec![wanted]))
    }

    /// Where the program of a sub-interface connects.
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.sockets.path().join(name)
    }

    /// Sets an attribute of a sub-interface that has no interface.
    pub(crate) fn set(&self, name: &str, attribute: LinkAttribute) -> Result<(), i32> {
        errno(self.engine.set_link(self.number(name), vec![attribute]).map(drop))
    }

    fn number(&self, name: &str) -> SubId {
        let status = self.status();
        status.subs.iter().find(|sub| sub.name == name).unwrap().number
    }
}

/// The state that the engine reports, once the interfaces agree with it.
pub(crate) fn state(network: &mut Network) -> Option<State> {
    let Driver::Engine(side) = &network.driver else {
        unreachable!("it was asked for the engine's")
    };
    let status = side.status();
    // A passthru sub-interface on a VLAN gives its address to the VLAN and not to the interface.
    let owned = status.subs.iter().any(|sub| sub.settings.mode == Mode::Passthru);
    let parent = match owned && !status.vlan.is_untagged() {
        true => status.mac,
        false => network.parent_mac(),
    };
    if status.subs.len() != network.subs.len() || status.mac != parent {
        return None;
    }
    let mut subs = Vec::new();
    for sub in 0..network.subs.len() {
        let interface = network.subs[sub].has_interface().then(|| network.netdev(sub));
        let name = &network.subs[sub].name;
        let told = status.subs.iter().find(|told| told.name == *name)?.clone();
        // A program without a connection receives nothing.
        let connected = |it: &ProgramStatus| it.program.is_some() || it.interface > 0;
        if !told.program.as_ref().is_none_or(connected) {
            return None;
        }
        if told.up && !told.link.is_running() {
            if let End::Program(program) = network.subs[sub].end() {
                program.greet();
            }
            return None;
        }
        let sub = SubState {
            name: told.name,
            program: network.subs[sub].program,
            mac: told.mac,
            mode: told.settings.mode,
            mtu: told.mtu,
            up: told.up,
            nodst: told.settings.flags.contains(MacvlanFlag::Nodst),
            open: told.all_groups,
            groups: if told.up { told.groups } else { Vec::new() },
            sources: told.settings.sources,
        };
        if let Some(netdev) = interface
            && sub != (SubState { mode: sub.mode, sources: sub.sources.clone(), ..netdev })
        {
            return None;
        }
        subs.push(sub);
    }
    Some(State { parent, subs })
}

/// The errno of a refusal by the rules. Any other error ends the test.
fn errno(result: Result<(), Error>) -> Result<(), i32> {
    match result {
        Err(Error::Refused { refusal, .. }) => Err(refusal.errno()),
        Err(other) => panic!("{other}"),
        Ok(()) => Ok(()),
    }
}
