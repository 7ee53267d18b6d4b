//! [`Plan`]: the options for the engine. Namespaces are opened and CPUs are chosen here; nothing is
//! created.

use std::collections::HashSet;

use anyhow::{Context, Result, bail, ensure};
use umacvlan_core::options::PortKind;
use umacvlan_daemon::sub_options;
use umacvlan_datapath::worker::WorkerConfig;
use umacvlan_engine::engine::{ParentOptions, SubOptions};
use umacvlan_sys::netns::Netns;

use super::RunArgs;
use super::spec::SubSpec;
use umacvlan_engine::cpus;
use umacvlan_text::format::ranges;

/// The parent and the sub-interfaces to create.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) parent: ParentOptions,
    pub(super) subs: Vec<SubOptions>,
    /// The namespace of each sub-interface as given; `None` for the present one.
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
        let cpus = choose_cpus(usize::from(args.workers), &args.cpu, &cpus::allowed())?;
        let worker =
            |cpu| WorkerConfig { coalesce: args.coalesce, cpu, io: args.io, poll: args.poll };
        let parent = ParentOptions {
            name: args.parent.clone(),
            workers: cpus.into_iter().map(worker).collect(),
            backend: args.backend,
            semantics: args.semantics,
            macnat: args.macnat,
            ..ParentOptions::default()
        };
        let places = specs.iter().map(|spec| spec.link.netns.clone()).collect();
        let subs = specs.into_iter().map(|spec| options(spec, args.port)).collect::<Result<_>>()?;
        Ok(Self { parent, subs, places })
    }
}

fn options(SubSpec { name, link }: SubSpec, port: PortKind) -> Result<SubOptions> {
    let netns = link
        .netns
        .as_ref()
        .map(|place| Netns::open(place).with_context(|| format!("--sub {name}: netns")));
    let netns = netns.transpose()?;
    Ok(SubOptions { port, ..sub_options(name, link, netns) })
}

/// The CPU of each worker: the requested ones, else the last allowed ones, because interrupts and
/// other work tend to use the first ones. Workers share CPUs if there are too few.
fn choose_cpus(count: usize, requested: &[usize], allowed: &[usize]) -> Result<Vec<Option<usize>>> {
    if let Some(cpu) = requested.iter().find(|cpu| !allowed.contains(cpu)) {
        bail!(
            "--cpu {cpu}: this command may not run there or the machine has no such CPU: choose \
             one of {}",
            ranges(allowed)
        );
    }
    ensure!(
        requested.len() <= count,
        "--cpu names {} CPUs for --workers {count}: name one for each at most",
        requested.len()
    );
    let last: Vec<usize> = allowed.iter().rev().copied().collect();
    let cpus = if requested.is_empty() { &last } else { requested };
    Ok((0..count).map(|number| cpus.get(number % cpus.len().max(1)).copied()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use umacvlan_text::output::one_line;

    #[test]
    fn the_last_cpus_are_the_default() {
        let chosen = |count, requested: &[usize], allowed: &[usize]| {
            choose_cpus(count, requested, allowed).unwrap()
        };
        assert_eq!(chosen(1, &[], &[0, 1, 5]), [Some(5)]);
        assert_eq!(chosen(1, &[], &[]), [None]);
        assert_eq!(chosen(1, &[1], &[0, 1, 5]), [Some(1)]);
        assert_eq!(chosen(2, &[], &[0, 1, 5]), [Some(5), Some(1)]);
        assert_eq!(chosen(3, &[1, 0], &[0, 1, 5]), [Some(1), Some(0), Some(1)]);
        assert_eq!(chosen(2, &[], &[3]), [Some(3), Some(3)]);
        assert_eq!(chosen(2, &[], &[]), [None, None]);
    }

    #[test]
    fn a_missing_cpu_is_refused_with_the_allowed_ones() {
        let line = one_line(&choose_cpus(1, &[4], &[0, 1, 2, 5, 7, 8]).unwrap_err());
        assert!(line.starts_with("--cpu 4: ") && line.ends_with("0-2,5,7-8"), "{line}");
        let line = one_line(&choose_cpus(1, &[0, 1], &[0, 1]).unwrap_err());
        assert!(line.starts_with("--cpu names 2 CPUs for --workers 1"), "{line}");
    }
}
