//! The files that `make install` and `make deb` install.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use umacvlan_testkit::skip;

use crate::world::UMACVLAN;

/// Every installed file below the prefix, without the documentation.
const FILES: [&str; 13] = [
    "bin/umacvlan",
    "bin/umacvlan-ip",
    "lib/cni/umacvlan-cni",
    "lib/netavark/umacvlan",
    "lib/netavark/umacvlan-netavark",
    "lib/umacvlan/ip",
    "lib/sysusers.d/umacvlan.conf",
    "share/bash-completion/completions/umacvlan",
    "share/fish/vendor_completions.d/umacvlan.fish",
    "share/man/man8/umacvlan.8.gz",
    "share/man/man8/umacvlan-cni.8.gz",
    "share/man/man8/umacvlan-ip.8.gz",
    "share/man/man8/umacvlan-link.8.gz",
];

/// A directory that is removed at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("umv-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// Files below it, as paths from it.
    fn files(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else {
                    let path = entry.path();
                    let path = path.strip_prefix(&self.0).unwrap();
                    found.insert(path.to_str().unwrap().to_owned());
                }
            }
        }
        found
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn make(words: &[&str]) -> Command {
    let mut command = Command::new("make");
    let binary = format!("BINARY={UMACVLAN}");
    command.current_dir(env!("CARGO_MANIFEST_DIR")).arg(binary).args(words);
    // The variables that cargo sets for this test would confuse make.
    command.env_remove("MAKEFLAGS").env_remove("CARGO_TARGET_DIR");
    command
}

/// Runs a command that must succeed, and returns its output.
fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn present(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok()
}

#[test]
fn install_puts_everything_below_the_prefix_and_uninstall_takes_it_back() {
    if !present("make") {
        return skip("make is not installed");
    }
    let folder = Folder::new("install");
    let place = format!("DESTDIR={}", folder.text());
    done(&mut make(&["install", &place, "PREFIX=/opt/u"]));
    let files = folder.files();
    for file in FILES.into_iter().chain(["share/zsh/site-functions/_umacvlan"]) {
        assert!(files.contains(&format!("opt/u/{file}")), "no {file} in {files:#?}");
    }
    // In any destination directory.
    let plugin = fs::read_link(folder.0.join("opt/u/lib/cni/umacvlan-cni")).unwrap();
    assert_eq!(plugin, Path::new("../../bin/umacvlan"));
    let unit = folder.0.join("opt/u/lib/systemd/system/umacvlan.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(unit.contains("ExecStart=/opt/u/bin/umacvlan daemon"), "{unit}");
    let mode = |file: &str| fs::metadata(folder.0.join(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("opt/u/bin/umacvlan"), mode("etc/umacvlan/umacvlan.toml")), (0o755, 0o644));

    // An existing configuration file belongs to the administrator and is not replaced.
    let config = folder.0.join("etc/umacvlan/umacvlan.toml");
    fs::write(&config, "# mine\n").unwrap();
    done(&mut make(&["install", &place, "PREFIX=/opt/u"]));
    done(&mut make(&["uninstall", &place, "PREFIX=/opt/u"]));
    assert_eq!(folder.files(), BTreeSet::from(["etc/umacvlan/umacvlan.toml".to_owned()]));
    assert_eq!(fs::read_to_string(config).unwrap(), "# mine\n");
}

#[test]
fn the_package_lists_what_debian_wants_where_it_wants_it() {
    if !["dpkg-deb", "make", "objdump"].into_iter().all(present) {
        return skip("dpkg-deb, make or objdump is not installed");
    }
    let folder = Folder::new("deb");
    // No compression, to be quick.
    let quick = "-Znone";
    done(make(&["deb"]).env("CARGO_TARGET_DIR", &folder.0).env("DEB_COMPRESSION", quick));
    let package = |entry: fs::DirEntry| {
        Some(entry.path()).filter(|path| path.extension() == Some("deb".as_ref()))
    };
    let package = fs::read_dir(&folder.0).unwrap().map(Result::unwrap).find_map(package).unwrap();
    let list = done(Command::new("dpkg-deb").arg("--contents").arg(&package));
    let lines: BTreeSet<&str> =
        list.lines().filter_map(|line| line.split(" ./").nth(1)?.split(" -> ").next()).collect();
    let usr = FILES.map(|file| format!("usr/{file}"));
    for file in usr.iter().map(String::as_str).chain([
        "etc/umacvlan/umacvlan.toml",
        "lib/systemd/system/umacvlan.service",
        "lib/systemd/system/umacvlan.socket",
        "usr/share/doc/umacvlan/changelog.gz",
        "usr/share/doc/umacvlan/copyright",
        "usr/share/zsh/vendor-completions/_umacvlan",
    ]) {
        assert!(lines.contains(file), "no {file} in {list}");
    }
    for link in links_of_the_readme().filter(|link| !link.starts_with("LICENSE-")) {
        let file = format!("usr/share/doc/umacvlan/{link}");
        assert!(lines.contains(file.as_str()), "README.md leads to {link}: no {file} in {list}");
    }
    assert!(list.lines().all(|line| line.contains(" root/root ")), "{list}");
    let control = done(Command::new("dpkg-deb").arg("--info").arg(&package));
    for words in ["Package: umacvlan", "Depends: libc6 (>= 2.", "conffiles", "postinst", "prerm"] {
        assert!(control.contains(words), "no {words} in {control}");
    }
    scripts_are_good_shell(&package, &folder.0.join("control"));
    apt_finds_it(&folder);
}

/// apt of its own state reads the repository that scripts/apt-repository makes of the folder.
fn apt_finds_it(folder: &Folder) {
    if !["apt-get", "dpkg-scanpackages"].into_iter().all(present) {
        return skip("apt-get or dpkg-scanpackages is not installed");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/apt-repository");
    let said = done(Command::new(script).arg(&folder.0).env_remove("KEY"));
    assert!(said.starts_with("1 packages in "), "{said}");
    for place in ["apt/lists/partial", "apt/cache/archives/partial", "apt/etc"] {
        fs::create_dir_all(folder.0.join(place)).unwrap();
    }
    let source = format!("deb [trusted=yes] file:{} ./\n", folder.text());
    fs::write(folder.0.join("apt/etc/sources.list"), source).unwrap();
    fs::write(folder.0.join("apt/status"), "").unwrap();
    let apt = |program: &str| {
        let mut command = Command::new(program);
        for (option, place) in [
            ("Dir::Etc::sourcelist", "apt/etc/sources.list"),
            ("Dir::Etc::sourceparts", "apt/etc/none"),
            ("Dir::State::lists", "apt/lists"),
            ("Dir::State::status", "apt/status"),
            ("Dir::Cache", "apt/cache"),
        ] {
            command.arg("-o").arg(format!("{option}={}", folder.0.join(place).display()));
        }
        // Files are read as the user who runs this, who need not be able to become another one.
        command.args(["-o", "APT::Sandbox::User=root"]);
        command
    };
    done(apt("apt-get").arg("update"));
    let policy = done(apt("apt-cache").args(["policy", "umacvlan"]));
    let version = env!("CARGO_PKG_VERSION");
    assert!(policy.contains(&format!("Candidate: {version}-1")), "{policy}");
}

/// The files of the repository that README.md has links to.
fn links_of_the_readme() -> impl Iterator<Item = &'static str> {
    let links = include_str!("../../README.md").split("](").skip(1);
    let links = links.filter_map(|rest| rest.split([')', '#']).next());
    links.filter(|link| !link.is_empty() && !link.contains("://"))
}

fn scripts_are_good_shell(package: &Path, folder: &Path) {
    done(Command::new("dpkg-deb").arg("--control").arg(package).arg(folder));
    for script in ["postinst", "postrm", "prerm"] {
        done(Command::new("sh").arg("-n").arg(folder.join(script)));
    }
}
