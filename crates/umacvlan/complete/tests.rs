//! Unfinished lines and their candidates.

use clap::CommandFactory;

use super::*;
use crate::{Cli, ip};

/// A machine with two parents, one link and two namespaces.
fn sources() -> Sources {
    let of = |words: &'static [&'static str]| -> Box<dyn Fn() -> Vec<Candidate>> {
        Box::new(move || words.iter().map(|&word| Candidate::bare(word)).collect())
    };
    Sources {
        parents: of(&["eth0", "eth1"]),
        links: of(&["mac1"]),
        namespaces: of(&["blue", "red"]),
    }
}

/// The candidates for the last word of `line`, which is empty if the line ends in a space.
fn complete_line(line: &str) -> Vec<String> {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let text = complete(&Cli::command(), &words, &sources());
    let word = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
    text.lines().map(word).collect()
}

#[test]
fn each_position_has_its_candidates() {
    for (line, expected) in [
        ("li", &["link"][..]),
        ("link ", &["add", "change", "delete", "help", "list", "set", "show"]),
        ("link a", &["add"]),
        ("l s", &["set", "show"]),
        ("link add link ", &["eth0", "eth1"]),
        ("link add link eth0 n", &["name", "netns"]),
        ("link add link eth0 name mac2 n", &["netns"]),
        ("link add netns ", &["blue", "red"]),
        ("link add link eth0 mac2 type ", &["macvlan", "macvtap"]),
        ("link add mac2 link eth0 type macvlan mode p", &["passthru", "private"]),
        ("link add mac2 link eth0 type macvlan mode source m", &["macaddr", "macnat"]),
        ("link add mac2 link eth0 type macvlan macaddr ", &["add", "del", "flush", "set"]),
        (
            "link add mac2 link eth0 type macvlan macaddr set 02:00:00:00:00:01 no",
            &["nodst", "nopromisc"],
        ),
        ("link add mac2 link eth0 type macvlan l", &[]),
        ("link set ma", &["mac1"]),
        ("link set mac1 u", &["up"]),
        ("link set mac1 d", &["down"]),
        ("link add mac2 n", &["netns"]),
        ("link set mac1 n", &["name", "netns"]),
        ("link set mac1 ma", &[]),
        ("link set dev ", &["mac1"]),
        ("link set dev mac1 promisc ", &["off", "on"]),
        ("link del ", &["dev", "mac1", "type"]),
        ("-j -n red link show ", &["dev", "mac1", "parent", "type", "up"]),
        ("-n ", &["blue", "red"]),
        ("-b ", &[":file"]),
        ("--socket ", &[":file"]),
        ("--socket /s link set m", &["mac1", "mtu"]),
        ("parent show e", &["eth0", "eth1"]),
        ("doctor ", &["eth0", "eth1"]),
        ("doctor eth0 ", &["eth0", "eth1"]),
        ("doctor --j", &["--json"]),
        ("run --par", &["--parent"]),
        ("run --parent ", &["eth0", "eth1"]),
        ("run --parent=eth1", &["--parent=eth1"]),
        ("run --poll ", &["adaptive", "busy", "interrupt"]),
        ("run --sub mac1,mo", &["mac1,mode="]),
        ("run --sub mac1,mode=b", &["mac1,mode=bridge"]),
        ("run --sub mac1,mode=bridge,netns=r", &["mac1,mode=bridge,netns=red"]),
        ("capture ", &["eth0", "eth1", "mac1"]),
        ("capture eth0 --at from-l", &["from-link"]),
        ("capture eth0 --reason sp", &["spoofed"]),
        ("capture eth0 -w ", &[":file"]),
        ("capture -n ", &["blue", "red"]),
        ("trace m", &["mac1"]),
        ("top --sort d", &["drops"]),
        ("lab --hairpin ", &["off", "on"]),
        ("__co", &[]),
        ("frob ", &[]),
        ("link frob ", &[]),
        ("link add link eth0 mac2 mtu ", &[]),
    ] {
        assert_eq!(complete_line(line), expected, "{line:?}");
    }
}

#[test]
fn the_first_word_is_any_command_or_object() {
    let words = complete_line("");
    for word in ["doctor", "lab", "link", "monitor", "parent", "run"] {
        assert!(words.iter().any(|other| other == word), "no {word} in {words:?}");
    }
    assert!(!words.iter().any(|word| word.starts_with('_')), "{words:?}");
    assert!(complete_line("-").contains(&"-json".to_owned()));
}

#[test]
fn the_last_socket_counts() {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(named_socket(&words("link show")), None);
    assert_eq!(named_socket(&words("--socket /a link")), Some("/a"));
    assert_eq!(named_socket(&words("--socket /a --socket=/b link")), Some("/b"));
    assert_eq!(named_socket(&words("--socket")), None);
}

#[test]
fn control_characters_are_replaced() {
    assert_eq!(Candidate::new("a\nb", "c\td").word, "a b");
    assert_eq!(complete(&Cli::command(), &[], &sources()), "");
}

#[test]
fn every_offered_keyword_is_parsed() {
    let commands = grammar::commands();
    assert!(commands.len() > 30, "{commands:?}");
    let unknown = |command: &str| {
        let wrong = ip::parse_error(command).unwrap_or_default();
        ["garbage", "not supported", "unknown"].iter().any(|words| wrong.contains(words))
    };
    for command in commands {
        assert!(!unknown(&command), "{command}: {:?}", ip::parse_error(&command));
    }
    assert!(unknown("link set m1 frob 1") && unknown("link set m1 type macvlan frob"));
}
