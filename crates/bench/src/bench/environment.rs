//! Gathers the facts about the machine that influence its speed, for the report.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jiff::{Timestamp, Unit};

use super::report::Environment;
use umacvlan_engine::cpus;
use umacvlan_text::format::ranges;

/// The current state of the machine. Facts that a container hides are absent.
pub(super) fn gather(seed: u64) -> Environment {
    Environment {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        begun: Timestamp::now().round(Unit::Second).unwrap_or_default().to_string(),
        command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
        seed,
        allowed: ranges(&cpus::allowed()),
        ..machine(Path::new("/"))
    }
}

/// The facts in the files below this root.
fn machine(root: &Path) -> Environment {
    let read = |path: &str| {
        let text = fs::read_to_string(root.join(path)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let cpuinfo = read("proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| values(&cpuinfo, name).next().map(str::to_owned);
    let is_virtual = field("flags")
        .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"));
    let vendor = || {
        let names = [read("sys/class/dmi/id/sys_vendor"), read("sys/class/dmi/id/product_name")];
        let names: Vec<String> = names.into_iter().flatten().collect();
        if names.is_empty() { "unknown".to_owned() } else { names.join(" ") }
    };
    let kernel = [read("proc/sys/kernel/osrelease"), read("proc/sys/kernel/version")];
    Environment {
        // ARM CPUs have numbers instead of a name.
        cpu: field("model name").or_else(|| {
            Some(format!("implementer {} part {}", field("CPU implementer")?, field("CPU part")?))
        }),
        cores: values(&cpuinfo, "processor").count(),
        memory: read("proc/meminfo").as_deref().and_then(memory),
        governor: read("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        hypervisor: read("sys/hypervisor/type").or_else(|| is_virtual.then(vendor)),
        mitigations: mitigations(&root.join("sys/devices/system/cpu/vulnerabilities")),
        kernel: kernel.into_iter().flatten().collect::<Vec<_>>().join(" "),
        ..Environment::default()
    }
}

/// The values of the lines `name : value`.
fn values<'t>(text: &'t str, name: &str) -> impl Iterator<Item = &'t str> {
    text.lines().filter_map(move |line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then_some(value.trim())
    })
}

fn memory(meminfo: &str) -> Option<u64> {
    let kibibytes = values(meminfo, "MemTotal").next()?.strip_suffix("kB")?;
    kibibytes.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Each file is named after a CPU vulnerability and describes its mitigation.
fn mitigations(folder: &Path) -> BTreeMap<String, String> {
    let Ok(files) = fs::read_dir(folder) else {
        return BTreeMap::new();
    };
    let entry = |file: fs::DirEntry| {
        let says = fs::read_to_string(file.path()).ok()?;
        Some((file.file_name().to_string_lossy().into_owned(), says.trim().to_owned()))
    };
    files.flatten().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use umacvlan_testkit::Scratch;

    use super::*;

    fn tree(files: &[(&str, &str)]) -> Scratch {
        let folder = Scratch::new();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn facts_of_the_machine_are_recorded() {
        let root = tree(&[
            (
                "proc/cpuinfo",
                "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu hypervisor\n\n\
                 processor\t: 1\nmodel name\t: Some CPU\n",
            ),
            ("proc/meminfo", "MemTotal:       2048 kB\nMemFree: 1 kB\n"),
            ("proc/sys/kernel/osrelease", "6.18.0\n"),
            ("proc/sys/kernel/version", "#1 SMP\n"),
            ("sys/class/dmi/id/sys_vendor", "Maker\n"),
            ("sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected\n"),
        ]);
        let found = machine(root.path());
        assert_eq!(found.cpu.as_deref(), Some("Some CPU"));
        assert_eq!((found.cores, found.memory), (2, Some(2_097_152)));
        assert_eq!(found.kernel, "6.18.0 #1 SMP");
        assert_eq!(found.hypervisor.as_deref(), Some("Maker"));
        assert_eq!(found.mitigations["meltdown"], "Not affected");
        assert_eq!(found.governor, None);
    }

    #[test]
    fn a_machine_without_any_facts_is_no_error() {
        let root = tree(&[]);
        assert_eq!(machine(root.path()), Environment::default());
    }

    #[test]
    fn the_facts_are_of_this_machine_and_this_time() {
        let found = gather(7);
        assert_eq!(found.seed, 7);
        assert!(found.cores > 0 && found.begun.ends_with('Z'), "{found:?}");
    }
}
