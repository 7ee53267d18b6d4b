//! Invalid files, and the diagnostics about them.

use proptest::prelude::*;

use super::super::diagnostic::Diagnostics;
use super::super::*;
use super::CPUS;

/// Invalid files, each followed by its diagnostics, line by line.
const WRONG: &str = include_str!("wrong.txt");

fn diagnostics(text: &str) -> Diagnostics {
    Config::parse("f", text, CPUS).map(|parsed| parsed.config).unwrap_err()
}

#[test]
fn every_diagnostic_has_line_column_and_the_expected_value() {
    let cases = WRONG.split("====\n").skip(1);
    let mut count = 0;
    for case in cases {
        // The title of the next group follows the last case of a group.
        let case = case.split("#### ").next().unwrap();
        let (text, expected) = case.split_once("\n----\n").unwrap();
        let said: Vec<String> = diagnostics(text).lines().collect();
        let expected: Vec<&str> = expected.lines().collect();
        assert_eq!(said, expected, "of this file:\n{text}");
        count += 1;
    }
    assert!(count >= 60, "only {count} cases were found in the list");
}

#[test]
fn a_diagnostic_is_shown_with_its_line_and_carets() {
    let text = "[engine]\r\n\tpoll = \"ünruhig\"  # why\r\n[link.m]\nparent = 'p'\nup = 1\n";
    let shown = diagnostics(text).to_string();
    let expected = [
        "f:2:9: poll: \"ünruhig\" is none of the words for this, expected one of \"adaptive\", \
         \"busy\", \"interrupt\"",
        "   |",
        " 2 |  poll = \"ünruhig\"  # why",
        "   |         ^^^^^^^^^",
        "f:5:6: up: this is a number, expected true or false, without quotes",
        "   |",
        " 5 | up = 1",
        "   |      ^",
    ];
    assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn one_line_has_the_number_of_further_diagnostics() {
    let line = diagnostics("[engine]\npoll = 1\nio = 1\ncpus = 1").one_line();
    assert!(line.starts_with("f:2:8: poll: this is a number"), "{line}");
    assert!(line.ends_with("(and 2 more: `umacvlan config check f` shows all)"), "{line}");
}

#[test]
fn of_a_long_line_only_the_part_around_the_error_is_shown() {
    let text = format!("engine = {{ cpus = [{}true] }}", "1, ".repeat(1000));
    let shown = diagnostics(&text).to_string();
    let caret = shown.lines().rev().take(2).collect::<Vec<_>>();
    let at = caret[0].find('^').unwrap();
    assert_eq!(caret[1].get(at..at + 4), Some("true"));
    assert!(shown.lines().skip(1).all(|line| line.len() < 200), "{shown}");
}

#[test]
fn control_characters_are_not_shown() {
    let shown = diagnostics("x = \"\u{1b}[2J\u{7}\"\n").to_string();
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{7}'), "{shown:?}");
}

#[test]
fn an_unknown_cpu_is_a_warning() {
    let parsed = Config::parse("f", "[parent.p]\ncpus = [1, 77]", CPUS).unwrap();
    let warnings: Vec<String> = parsed.warnings.lines().collect();
    let expected =
        "f:2:12: cpus: this machine has no CPU 77 that may be used, expected some of 0-3";
    assert_eq!(warnings, [expected]);
}

#[test]
fn more_workers_than_cpus_are_a_warning() {
    let parsed =
        Config::parse("f", "[engine]\nworkers = 4\n[parent.p]\nworkers = 5", CPUS).unwrap();
    let warnings: Vec<String> = parsed.warnings.lines().collect();
    assert_eq!(warnings, ["f:4:11: workers: 5 of them would share 4 CPUs"]);
}

/// Pieces of files, which in a random order come close to a file.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "[daemon]\n",
        "[engine]\n",
        "[parent.p]\n",
        "[link.m]\n",
        "[link.\"a b\"]\n",
        "parent",
        "cpus",
        "workers",
        "mode",
        "up",
        "mtu",
        "macaddr",
        "address",
        "netns",
        " = ",
        "\"",
        "'",
        "\"\"\"",
        "[",
        "]",
        "{",
        "}",
        ",",
        ".",
        "\n",
        "\r\n",
        "#",
        "true",
        "1",
        "-",
        "0x",
        "1e9",
        "02:00:00:00:00:01",
        "source",
        "é",
        "\u{feff}",
        "\t",
    ];
    prop_oneof![
        8 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(pieces in proptest::collection::vec(piece(), 0..40)) {
        let text = pieces.concat();
        match Config::parse("f", &text, CPUS) {
            Ok(parsed) => _ = parsed.warnings.to_string(),
            Err(diagnostics) => {
                prop_assert!(diagnostics.len() > 0);
                prop_assert!(diagnostics.to_string().lines().count() >= diagnostics.len() * 4);
            }
        }
    }

    #[test]
    fn no_value_makes_the_parser_panic(key in "[a-z_]{1,12}", value in any::<String>(), table in 0..4) {
        let table = ["daemon", "engine", "parent.p", "link.m"][usize::try_from(table).unwrap()];
        for value in [format!("{value:?}"), value] {
            let text = format!("[{table}]\n{key} = {value}\n");
            if let Err(diagnostics) = Config::parse("f", &text, CPUS) {
                prop_assert!(diagnostics.lines().all(|line| !line.contains('\n')));
            }
        }
    }
}
