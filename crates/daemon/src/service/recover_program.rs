//! Making links of a former daemon again whose far end is a program: there is no interface of theirs to be
//! re-adopted, except a TAP that was made for the program.

use umacvlan_core::Mode;
use umacvlan_engine::engine::{LinkAttribute, SubId, SubOptions};

use super::Service;
use super::add::PortSpec;
use crate::ServiceError;
use crate::link_record::LinkRecord;
use crate::parent_record::ParentRecord;

impl Service {
    /// Makes a link whose far end is a program again: the program connects again by itself.
    pub(super) fn recover_program(&mut self, record: &LinkRecord, parents: &[ParentRecord]) {
        let parent = parents.iter().find(|parent| parent.name == record.parent);
        if let Err(problem) = self.make_program_again(record, parent) {
            self.defer(record, &problem);
        }
    }

    fn make_program_again(
        &mut self,
        record: &LinkRecord,
        parent: Option<&ParentRecord>,
    ) -> Result<(), ServiceError> {
        let Some(program) = &record.program else {
            return Ok(());
        };
        let number = SubId(record.id);
        let fresh = !self.parents.contains_key(&record.parent);
        let name = self.attach_again(&record.parent, parent, record.mode == Mode::Passthru)?;
        let port = PortSpec {
            client: program.client.as_deref(),
            dev: program.dev.as_deref(),
            user: program.user,
            group: program.group,
            former: Some(program.former()),
        };
        let options = SubOptions {
            number: Some(number),
            name: record.name.clone(),
            settings: record.settings(),
            mac: Some(record.mac),
            mtu: Some(program.mtu),
            promisc: program.promisc,
            allmulti: program.allmulticast,
            alias: Some(program.alias.clone()),
            txqlen: Some(program.txqueuelen),
            program: self.program_port(&record.name, Some(program.port), port)?,
            up: false,
            claims_mac: record.owner.is_some(),
            ..SubOptions::default()
        };
        let made = self.engine.add_sub(&name, options)?;
        let mut sets = Vec::new();
        if made.mac != record.mac {
            sets.push(LinkAttribute::Mac(record.mac));
        }
        if program.up {
            sets.push(LinkAttribute::Up(true));
        }
        // An address may be in use by now: it stays down then, as at any request.
        if let Err(problem) = self.engine.set_link(number, sets) {
            tracing::error!("link {}, number {}, is down: {problem}", record.name, record.id);
        }
        if program.port.has_interface() {
            self.engine.keep_sub(number)?;
        }
        let seen = self.engine.sub(number)?;
        self.note_adopted(record, parent.filter(|_| fresh), seen)
    }
}
