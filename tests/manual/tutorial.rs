//! Follows docs/tutorial.md from its first block to its last, on one machine, and compares what each
//! block prints with the output that stands below it. Numbers may differ: times, indexes, MAC addresses.

use std::fmt::Write;
use std::fs;
use std::process::{Command, Stdio};

use umacvlan_testkit::{Scratch, root_or_skip};

use crate::{path, read};

const NAME: &str = "docs/tutorial.md";

/// A block of commands and the output below it.
#[derive(Debug, Default)]
struct Step {
    /// Number of its first line, from 1.
    number: usize,
    commands: String,
    output: Option<String>,
}

#[test]
fn the_tutorial_prints_what_it_shows() {
    if !root_or_skip() {
        return;
    }
    let steps = steps(&read(NAME));
    assert!(steps.len() > 10 && steps.iter().filter(|step| step.output.is_some()).count() > 10);
    let scratch = Scratch::new();
    let file = |kind: &str, at: usize| scratch.path().join(format!("{kind}{at}"));
    let mut script = "mount --make-rprivate /\n".to_owned();
    for (at, step) in steps.iter().enumerate() {
        let [block, output] = ["block", "output"].map(|kind| file(kind, at));
        fs::write(&block, &step.commands).unwrap();
        let (block, output) = (block.display(), output.display());
        let _ = writeln!(script, "bash -e {block} >{output} 2>&1 || exit {}", at + 1);
    }
    let status = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", &script])
        .env("PATH", path())
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .status()
        .unwrap();
    for (at, Step { number, commands, output }) in steps.iter().enumerate() {
        let printed = fs::read_to_string(file("output", at)).unwrap_or_default();
        let failed = status.code() == Some(i32::try_from(at).unwrap() + 1);
        assert!(!failed, "{NAME}:{number} fails:\n{commands}{printed}");
        if let Some(output) = output {
            let same = masked(output) == masked(&printed);
            assert!(same, "{NAME}:{number} shows:\n{output}and prints:\n{printed}");
        }
    }
    assert!(status.success(), "{status}");
}

/// The `sh` blocks of a page, each with the `text` block that follows at once.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = page.lines().enumerate();
    let mut after_commands = false;
    while let Some((at, line)) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            after_commands = false;
            continue;
        };
        let rest = lines.by_ref().take_while(|(_, line)| *line != "```");
        let text: String = rest.flat_map(|(_, line)| [line, "\n"]).collect();
        match language {
            "sh" => steps.push(Step { number: at + 2, commands: text, output: None }),
            "text" if after_commands => {
                if let Some(step) = steps.last_mut() {
                    step.output = Some(text);
                }
            }
            _ => {}
        }
        after_commands = language == "sh";
    }
    steps
}

/// Text in which numbers and MAC addresses are not told apart, nor one space from many.
fn masked(text: &str) -> Vec<String> {
    let word = |word: &str| {
        let is_mac = word.len() == 17 && word.split(':').count() == 6;
        let mut masked = String::new();
        for letter in word.chars().filter(|_| !is_mac) {
            match letter {
                '0'..='9' | '.' if masked.ends_with('#') => {}
                '0'..='9' => masked.push('#'),
                letter => masked.push(letter),
            }
        }
        if is_mac { "MAC".to_owned() } else { masked }
    };
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(line).filter(|line| !line.is_empty()).collect()
}

#[test]
fn only_numbers_are_masked() {
    assert_eq!(masked("3: a@b mtu 1500\n"), masked("14: a@b  mtu 9000\n\n"));
    assert_eq!(masked("x 02:00:00:00:00:01"), masked("x aa:bb:cc:dd:ee:ff"));
    assert_ne!(masked("1 received"), masked("1 lost"));
    assert_eq!(masked("time=0.236 ms"), masked("time=12 ms"));
}
