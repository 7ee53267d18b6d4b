//! Plugins of container runtimes: whether the runtimes find them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::check::{Check, State};

/// The directories of CNI plugins: Kubernetes, Debian.
const CNI_FOLDERS: [&str; 2] = ["opt/cni/bin", "usr/lib/cni"];

/// The default directories of netavark drivers: containers.conf(5).
const NETAVARK_FOLDERS: [&str; 4] = [
    "usr/local/libexec/netavark",
    "usr/libexec/netavark",
    "usr/local/lib/netavark",
    "usr/lib/netavark",
];

/// The directory of CNI networks.
const CNI_NETWORKS: &str = "etc/cni/net.d";

/// Checks the directories below `root`. A missing directory is no fault: containers are optional.
pub(super) fn inspect(root: &Path) -> Vec<Check> {
    let mut checks = cni(root);
    checks.extend([netavark(root), multus(root)]);
    checks
}

/// Each directory has its own check, because a runtime searches one of them.
fn cni(root: &Path) -> Vec<Check> {
    let name = "cni";
    match there(root, &CNI_FOLDERS)[..] {
        [] => vec![none(name, &CNI_FOLDERS)],
        ref there => {
            there.iter().map(|folder| plugin(name, root, folder, "umacvlan-cni")).collect()
        }
    }
}

/// The plugin in one directory is enough, because netavark searches all of them.
fn netavark(root: &Path) -> Check {
    let (name, file) = ("netavark", "umacvlan-netavark");
    let there = there(root, &NETAVARK_FOLDERS);
    let with = there.iter().find(|folder| has(root, folder, file)).or_else(|| there.first());
    with.map_or_else(|| none(name, &NETAVARK_FOLDERS), |folder| plugin(name, root, folder, file))
}

/// The directories that exist.
fn there(root: &Path, folders: &[&'static str]) -> Vec<&'static str> {
    folders.iter().copied().filter(|folder| root.join(folder).is_dir()).collect()
}

fn none(name: &'static str, folders: &[&str]) -> Check {
    let all: Vec<String> = folders.iter().map(|folder| format!("/{folder}")).collect();
    Check::info(name, format!("no folder for plugins: {}", all.join(", ")))
}

/// Whether a directory has the file or symbolic link, even a dangling one.
fn has(root: &Path, folder: &str, file: &str) -> bool {
    root.join(folder).join(file).symlink_metadata().is_ok()
}

/// Whether a plugin is in a directory, or else whether it can be installed there.
fn plugin(name: &'static str, root: &Path, folder: &str, file: &str) -> Check {
    let shown = format!("/{folder}");
    if has(root, folder, file) {
        return match fs::metadata(root.join(folder).join(file)) {
            Ok(found) if found.permissions().mode() & 0o111 == 0 => {
                broken(name, file, &shown, "may not be executed")
            }
            Ok(_) => Check::ok(name, format!("{file} is in {shown}")),
            Err(_) => broken(name, file, &shown, "leads nowhere"),
        };
    }
    let found = format!("{file} is not in {shown}");
    let link = link(file, &shown);
    match access(&root.join(folder), AccessFlags::W_OK) {
        Ok(()) => Check::info(name, found).fix(link),
        Err(error) => {
            let why = error.desc().to_lowercase();
            Check::info(name, format!("{found}, which cannot be written to: {why}"))
                .fix(format!("as root, {link}; or have the runtime look elsewhere"))
        }
    }
}

fn broken(name: &'static str, plugin: &str, folder: &str, what: &str) -> Check {
    Check::new(name, State::Warn, format!("{plugin} in {folder} {what}")).fix(link(plugin, folder))
}

/// The command that installs a plugin: a symbolic link to this program.
fn link(plugin: &str, folder: &str) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/bin/umacvlan"));
    format!("ln -sf {} {folder}/{plugin}", program.display())
}

/// Whether Multus is installed, which pods need for a second network.
fn multus(root: &Path) -> Check {
    let name = "multus";
    let folder = root.join(CNI_NETWORKS);
    let files =
        fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut files: Vec<String> = files.filter_map(|file| file.into_string().ok()).collect();
    files.sort_unstable();
    match files.iter().find(|file| file.contains("multus")) {
        Some(file) => Check::ok(name, format!("/{CNI_NETWORKS}/{file}")),
        None if files.is_empty() => {
            Check::info(name, format!("no networks of CNI in /{CNI_NETWORKS}"))
        }
        None => Check::info(name, format!("not in /{CNI_NETWORKS}: pods have one network each"))
            .fix("docs/kubernetes.md tells how to install it"),
    }
}

#[cfg(test)]
mod tests {
    use umacvlan_testkit::Scratch;

    use super::*;

    fn make(root: &Scratch, path: &str, mode: u32) {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The state and the fix of the check of that name.
    fn seen(root: &Scratch, name: &str) -> (State, String) {
        let check = inspect(root.path()).into_iter().find(|check| check.name == name).unwrap();
        (check.state, check.fix.unwrap_or_default())
    }

    #[test]
    fn without_containers_there_is_nothing_to_fix() {
        let root = Scratch::new();
        for check in inspect(root.path()) {
            assert_eq!((check.state, check.fix), (State::Info, None), "{}", check.name);
        }
    }

    #[test]
    fn a_missing_plugin_comes_with_the_command_that_installs_it() {
        let root = Scratch::new();
        for (name, folder, plugin) in [
            ("cni", "opt/cni/bin", "umacvlan-cni"),
            ("netavark", "usr/lib/netavark", "umacvlan-netavark"),
        ] {
            make(&root, &format!("{folder}/other"), 0o755);
            let (state, fix) = seen(&root, name);
            assert_eq!(state, State::Info);
            assert!(
                fix.starts_with("ln -sf /") && fix.ends_with(&format!(" /{folder}/{plugin}")),
                "{fix}"
            );
            let path = format!("{folder}/{plugin}");
            make(&root, &path, 0o644);
            assert_eq!(seen(&root, name).0, State::Warn);
            make(&root, &path, 0o755);
            assert_eq!(seen(&root, name), (State::Ok, String::new()));
            fs::remove_file(root.path().join(&path)).unwrap();
            std::os::unix::fs::symlink("/nowhere/at/all", root.path().join(&path)).unwrap();
            assert_eq!(seen(&root, name).0, State::Warn);
        }
    }

    #[test]
    fn each_directory_of_cni_has_its_own_check() {
        let root = Scratch::new();
        make(&root, "usr/lib/cni/umacvlan-cni", 0o755);
        make(&root, "opt/cni/bin/other", 0o755);
        let states: Vec<_> = cni(root.path()).into_iter().map(|check| check.state).collect();
        assert_eq!(states, [State::Info, State::Ok]);
    }

    #[test]
    fn multus_is_known_by_its_file() {
        let root = Scratch::new();
        make(&root, "etc/cni/net.d/10-flannel.conflist", 0o644);
        assert!(seen(&root, "multus").1.contains("kubernetes.md"));
        make(&root, "etc/cni/net.d/00-multus.conf", 0o644);
        assert_eq!(seen(&root, "multus"), (State::Ok, String::new()));
    }
}
