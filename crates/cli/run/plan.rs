//! [`Plan`]: what was typed, in the engine's terms. Namespaces are opened and CPUs counted here,
//! nothing is made.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use umacvlan_engine::engine::{ParentOptions, SubOptions};
use umacvlan_engine::sys::netns::Netns;
use umacvlan_engine::worker::WorkerConfig;

use super::RunArgs;
use super::spec::SubSpec;
use crate::cpus;

/// All that the engine is to make.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) parent: ParentOptions,
    pub(super) subs: Vec<SubOptions>,
    /// The namespace of each sub-interface as it was typed; `None`: this one.
    pub(super) places: Vec<Option<String>>,
}

impl Plan {
    pub(super) fn new(args: &RunArgs) -> Result<Self> {
        let specs: Vec<SubSpec> =
            args.subs.iter().map(|text| text.parse()).collect::<Result<_>>()?;
        let mut names = HashSet::new();
        for SubSpec { name, .. } in &specs {
            ensure!(
                names.insert(name),
                "--sub {name} is given twice: give each sub-interface a name of its own"
            );
        }
        let parent = ParentOptions {
            name: args.parent.clone(),
            workers: vec![WorkerConfig {
                coalesce: args.coalesce,
                cpu: choose_cpu(args.cpu, &cpus::allowed())?,
                io: args.io,
                poll: args.poll,
            }],
            semantics: args.semantics,
            ..ParentOptions::default()
        };
        let places = specs.iter().map(|spec| spec.netns.clone()).collect();
        let subs = specs.into_iter().map(options).collect::<Result<_>>()?;
        Ok(Self { parent, subs, places })
    }
}

fn options(spec: SubSpec) -> Result<SubOptions> {
    let netns = match &spec.netns {
        Some(place) => {
            let failed = || format!("--sub {}: netns", spec.name);
            Some(Netns::open(place).with_context(failed)?)
        }
        None => None,
    };
    Ok(SubOptions {
        name: spec.name,
        mac: spec.address,
        mode: spec.mode,
        mtu: spec.mtu,
        netns,
        nodst: spec.nodst,
        nopromisc: spec.nopromisc,
        bc_queue_len: spec.bcqueuelen,
        sources: spec.macaddrs,
        up: spec.up,
        ..SubOptions::default()
    })
}

/// The CPU that was asked for, or the last of those allowed: interrupts and everything else begin
/// at the first ones.
fn choose_cpu(asked: Option<usize>, allowed: &[usize]) -> Result<Option<usize>> {
    let Some(cpu) = asked else {
        return Ok(allowed.last().copied());
    };
    ensure!(
        allowed.contains(&cpu),
        "--cpu {cpu}: this command may not run there or the machine has no such CPU: choose one \
         of {}",
        cpus::ranges(allowed)
    );
    Ok(Some(cpu))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::one_line;

    #[test]
    fn the_last_cpu_serves_unless_one_is_asked_for() {
        assert_eq!(choose_cpu(None, &[0, 1, 5]).unwrap(), Some(5));
        assert_eq!(choose_cpu(None, &[]).unwrap(), None);
        assert_eq!(choose_cpu(Some(1), &[0, 1, 5]).unwrap(), Some(1));
    }

    #[test]
    fn a_cpu_that_is_not_there_is_refused_with_those_that_are() {
        let line = one_line(&choose_cpu(Some(4), &[0, 1, 2, 5, 7, 8]).unwrap_err());
        assert!(line.starts_with("--cpu 4: ") && line.ends_with("0-2,5,7-8"), "{line}");
    }
}
