//! Runs every command of README.md and the man pages as printed, and compares statements of the
//! documentation about the repository with it (`structure`).
//!
//! Each section of a document runs on a machine of its own: a private one with NICs that may be
//! parents, and a daemon where the section needs it. Commands that cannot run there are listed in
//! [`ELSEWHERE`], with the reason.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod extract;
mod structure;

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use umacvlan_testkit::{root_or_skip, skip};

use extract::{Section, sections, unmarked};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const UMACVLAN: &str = env!("CARGO_BIN_EXE_umacvlan");

/// Prefixes of commands that are not run here.
const ELSEWHERE: [(&str, &str); 4] = [
    ("apt install ", "changes the machine; tests/cli/package.rs looks into the package"),
    ("docker ", "tests/docker runs such commands, with a dockerd of its own"),
    ("make ", "its targets are what runs these tests"),
    ("systemctl ", "needs systemd as process 1"),
];

#[test]
fn the_commands_of_the_readme_work() {
    run_document("README.md");
}

#[test]
fn the_commands_of_the_man_pages_work() {
    for page in man_pages() {
        run_document(&format!("man/{page}"));
    }
}

#[test]
fn no_command_of_a_man_page_is_left_without_a_mark() {
    for page in man_pages() {
        assert_eq!(unmarked(&read(&format!("man/{page}"))), [0; 0], "man/{page}");
    }
}

#[test]
fn the_manual_has_every_command_and_option() {
    let page = read("man/umacvlan.8").replace("\\-", "-");
    let help = |words: &[&str]| {
        let output = Command::new(UMACVLAN).args(words).arg("--help").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let overview = help(&[]);
    let commands = overview.split("Commands:\n").nth(1).unwrap();
    for line in commands.lines().take_while(|line| !line.is_empty()) {
        let command = line.split_whitespace().next().unwrap();
        if command == "help" {
            continue;
        }
        assert!(page.contains(&format!("umacvlan {command}")), "{command}");
        let text = help(&[command]);
        let options = text.split_whitespace().filter(|word| word.starts_with("--"));
        for option in options.map(|word| word.trim_end_matches(['.', ',', ')', ']'])) {
            // Brackets enclose optional parts.
            let option = option.split('[').next().unwrap_or(option);
            let known = ["--help", "--version"].contains(&option) || page.contains(option);
            assert!(known, "{command} {option}");
        }
    }
}

#[test]
fn each_document_has_commands() {
    for name in ["README.md", "man/umacvlan.8", "man/umacvlan-link.8"] {
        assert!(!sections(name, &read(name)).is_empty(), "{name}");
    }
}

fn man_pages() -> Vec<String> {
    let entries = fs::read_dir(Path::new(ROOT).join("man")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).expect(name)
}

/// Runs every section of a document in a world of its own.
fn run_document(name: &str) {
    if !root_or_skip() {
        return;
    }
    if Command::new("ip").arg("-V").stdout(Stdio::null()).status().is_err() {
        return skip("`ip` is not installed");
    }
    for section in sections(name, &read(name)) {
        run_section(name, &section);
    }
}

fn run_section(name: &str, section: &Section) {
    let tools = Tools::new(name);
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", &script(name, section)])
        .env("ROOT", ROOT)
        .env("PATH", tools.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    let title = &section.title;
    assert!(output.status.success(), "{name}, {title}:\n{said}\n{complained}");
}

/// The commands of a section for the shell of its machine, each printed before it is run.
fn script(name: &str, section: &Section) -> String {
    let mut script = format!(". {ROOT}/tests/manual/world.sh\n");
    let texts = || section.lines.iter().map(|line| line.text.trim());
    if !texts().any(|text| text.starts_with("umacvlan daemon"))
        && texts().any(|text| text.starts_with("umacvlan"))
    {
        script.push_str("start_daemon\n");
    }
    for line in &section.lines {
        let text = line.text.trim().trim_end_matches('&').trim_end();
        if ELSEWHERE.iter().any(|(words, _)| text.starts_with(words)) {
            continue;
        }
        let _ = writeln!(script, "echo '@ {name}:{}'", line.number);
        let _ = match text {
            _ if text.starts_with("umacvlan run ") => {
                writeln!(script, "start_until ready {text}")
            }
            "umacvlan monitor" => writeln!(script, "{text} &"),
            _ if text.starts_with("umacvlan daemon --background") => writeln!(script, "{text}"),
            _ => match text.strip_prefix("umacvlan daemon") {
                Some(options) => writeln!(script, "start_daemon {options}"),
                None => writeln!(script, "{text}"),
            },
        };
    }
    script
}

/// A folder with the command under test, a ping and a tcpdump, gone when this is dropped.
struct Tools(PathBuf);

impl Tools {
    fn new(name: &str) -> Self {
        let name = name.replace('/', "-");
        let folder = std::env::temp_dir().join(format!("umv-tools-{name}-{}", std::process::id()));
        let tools = Self(folder);
        fs::create_dir_all(&tools.0).unwrap();
        let stand_in = |tool| (tool, format!("{ROOT}/tests/manual/{tool}"));
        for (tool, target) in
            [("umacvlan", UMACVLAN.to_owned()), stand_in("ping"), stand_in("tcpdump")]
        {
            std::os::unix::fs::symlink(target, tools.0.join(tool)).unwrap();
        }
        tools
    }

    fn path(&self) -> OsString {
        let others = std::env::var_os("PATH").unwrap_or_default();
        let own = [self.0.clone()];
        std::env::join_paths(own.into_iter().chain(std::env::split_paths(&others))).unwrap()
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
