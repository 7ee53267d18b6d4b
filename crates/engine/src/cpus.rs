//! The CPUs that this process may run on.

/// Those CPUs, in order; none if the system does not tell.
pub fn allowed() -> Vec<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let mut cpus: Vec<usize> = cores.into_iter().map(|core| core.id).collect();
    cpus.sort_unstable();
    cpus
}
