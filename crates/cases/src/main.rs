//! `umacvlan-cases [CASE [ROUNDS]]`: runs rounds of a case, or lists all cases.

use std::env;
use std::process::ExitCode;

use umacvlan_cases::{CASES, counted};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let Some(name) = words.first() else {
        CASES.iter().for_each(|case| println!("{}", case.name));
        return ExitCode::SUCCESS;
    };
    let rounds = words.get(1).map_or(Ok(1), |word| word.parse());
    let (Some(case), Ok(rounds)) = (CASES.iter().find(|case| case.name == name), rounds) else {
        eprintln!("usage: umacvlan-cases [CASE [ROUNDS]]; without arguments it lists the cases");
        return ExitCode::FAILURE;
    };
    let mut round = case.ready();
    let mut frames = 0;
    for _ in 0..rounds {
        round.prepare();
        counted(&mut *round);
        frames += round.frames();
    }
    println!("{frames}");
    ExitCode::SUCCESS
}
