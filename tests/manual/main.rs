//! Runs every block of commands of README.md and the man pages as it stands, and compares statements
//! of the documentation about the repository with it (`structure`).
//!
//! Each section of a document runs on a machine of its own: a private one with NICs that may be
//! parents, and a daemon where the section expects one. A block is a script for `sh`, and is also
//! read from standard input, as a terminal's shell reads pasted lines: a command that reads from
//! there takes the lines after it. Blocks with commands that cannot run there are listed in
//! [`ELSEWHERE`], with the reason.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod extract;
mod figures;
mod structure;
mod tutorial;

use std::env;
use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use umacvlan_testkit::{root_or_skip, skip};

use extract::{Block, Section, sections, unmarked};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const UMACVLAN: &str = env!("CARGO_BIN_EXE_umacvlan");

/// Beginnings of lines. A block with such a line is not run here.
const ELSEWHERE: [(&str, &str); 4] = [
    ("apt install ", "changes the machine; tests/cli/package.rs looks into the package"),
    ("docker ", "tests/docker/documented.rs runs these blocks, with a dockerd of its own"),
    ("make ", "its targets are what runs these tests"),
    ("systemctl ", "needs systemd as process 1"),
];

#[test]
fn the_commands_of_the_readme_work() {
    run_document("README.md");
}

#[test]
fn the_commands_of_the_how_tos_work() {
    run_document("docs/howto.md");
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
    for name in ["README.md", "docs/howto.md", "man/umacvlan.8", "man/umacvlan-link.8"] {
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
    let missing = ["ip", "ping", "tcpdump"].into_iter().find(|tool| {
        Command::new(tool).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
    });
    if let Some(tool) = missing {
        return skip(&format!("`{tool}` is not installed"));
    }
    for section in sections(name, &read(name)) {
        run_section(name, &section, "sh -e");
        run_section(name, &section, "bash -e <");
    }
}

fn run_section(name: &str, section: &Section, shell: &str) {
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", &script(name, section, shell)])
        .env("ROOT", ROOT)
        .env("PATH", path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    let title = &section.title;
    assert!(output.status.success(), "{name}, {title}, by {shell}:\n{said}\n{complained}");
}

/// The script of a section's machine, which runs its blocks one after the other. The place of each is
/// printed first.
fn script(name: &str, section: &Section, shell: &str) -> String {
    let mut script = format!(". {ROOT}/tests/manual/world.sh\n");
    let lines = || section.blocks.iter().flat_map(|block| block.text.lines());
    let has = |command| lines().any(|line| line.starts_with(command));
    if has("umacvlan") && !has("umacvlan daemon") {
        script.push_str("umacvlan daemon --background\n");
    }
    for block in section.blocks.iter().filter(|block| runs_here(&block.text)) {
        let Block { number, text } = block;
        let _ = writeln!(script, "echo '@ {name}:{number}'");
        let _ = writeln!(script, "cat >/run/block <<'END OF BLOCK'\n{text}END OF BLOCK");
        let _ = writeln!(script, "{shell} /run/block");
    }
    script
}

/// True if no line of a block has to run elsewhere.
fn runs_here(block: &str) -> bool {
    !block.lines().any(|line| ELSEWHERE.iter().any(|(words, _)| line.starts_with(words)))
}

/// The value of `PATH`, with the folder of the command under test first.
fn path() -> OsString {
    let others = env::var_os("PATH").unwrap_or_default();
    let ours = Path::new(UMACVLAN).parent().unwrap().to_owned();
    env::join_paths([ours].into_iter().chain(env::split_paths(&others))).unwrap()
}
