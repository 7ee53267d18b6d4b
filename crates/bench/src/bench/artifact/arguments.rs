//! The arguments that decide what a bench measures, to run it again.
//!
//! An artifact may come from anybody, so only options that are listed here are passed on: none of
//! them names a file.

/// Options with a value.
const VALUED: [&str; 14] = [
    "--congestion",
    "--flows",
    "--load",
    "--measure",
    "--mode",
    "--path",
    "--peer",
    "--port",
    "--size",
    "--subs",
    "--time",
    "--trials",
    "--width",
    "--workers",
];

/// Options without one.
const PLAIN: [&str; 2] = ["--growth", "--quick"];

/// The options of these words that decide what is measured, and their values. Whatever else there
/// is, is left out.
pub(super) fn measuring(words: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let name = word.split('=').next().unwrap_or_default();
        let has_value = name.len() < word.len();
        match (VALUED.contains(&name), PLAIN.contains(&name)) {
            (true, _) if has_value => kept.push(word.clone()),
            (true, _) => {
                if let Some(value) = rest.next() {
                    kept.push(format!("{name}={value}"));
                }
            }
            (_, true) if !has_value => kept.push(word.clone()),
            _ => {}
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command};

    use super::*;
    use crate::bench::BenchRun;
    use crate::bench::forward::ForwardArgs;
    use crate::bench::path::PathArgs;
    use crate::bench::program::ProgramArgs;

    fn kept(words: &str) -> String {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        measuring(&words).join(" ")
    }

    #[test]
    fn what_is_measured_is_kept_and_nothing_else() {
        assert_eq!(
            kept("path --quick --out /etc/passwd --size 64,imix --html=x.html -j --time=0.1"),
            "--quick --size=64,imix --time=0.1"
        );
        assert_eq!(kept("--artifact a --csv b --svg c --seed 4 --note d --quick=x --unknown"), "");
        assert_eq!(kept("path --mode --out"), "--mode=--out", "a value, which the bench refuses");
        assert_eq!(kept("path --mode"), "");
    }

    #[test]
    fn every_option_of_a_bench_is_kept_or_known_to_measure_nothing() {
        // Outputs, and what replicate decides itself.
        let others = [
            "against",
            "artifact",
            "csv",
            "fail-if",
            "format",
            "html",
            "json",
            "latex",
            "note",
            "out",
            "pgfplots",
            "seed",
            "strict",
            "svg",
            "tex-caption",
            "tex-font",
            "tex-size",
            "tolerance",
        ];
        for command in [
            BenchRun::<PathArgs>::augment_args(Command::new("path")),
            BenchRun::<ForwardArgs>::augment_args(Command::new("forward")),
            BenchRun::<ProgramArgs>::augment_args(Command::new("program")),
        ] {
            for argument in command.get_arguments() {
                let name = argument.get_long().unwrap();
                let option = format!("--{name}");
                let takes = argument.get_action().takes_values();
                let kept =
                    if takes { VALUED.contains(&&*option) } else { PLAIN.contains(&&*option) };
                assert!(kept != others.contains(&name), "{option}");
            }
        }
    }
}
