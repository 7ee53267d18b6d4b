//! Seeds and mutations of them, the same in every run.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};

use umacvlan_fuzz::{TARGETS, target};

/// Mutations of each seed.
const MUTATIONS: u64 = 100;

fn seeds_of(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn every_directory_of_seeds_has_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(target(&name).is_some(), "{name}");
    }
}

#[test]
fn every_target_bears_its_seeds_and_mutations_of_them() {
    for target in TARGETS {
        let seeds = seeds_of(target.name);
        assert!(!seeds.is_empty(), "{}", target.name);
        for (path, seed) in &seeds {
            println!("{}", path.display());
            (target.run)(seed);
            for number in 0..MUTATIONS {
                let mut random = fastrand::Rng::with_seed(number);
                let mut bytes = seed.clone();
                mutate(&mut bytes, &mut random);
                (target.run)(&bytes);
            }
        }
        (target.run)(&[]);
    }
}

/// Changes, removes, repeats and adds some bytes.
fn mutate(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..8) {
        let at = random.usize(..=bytes.len());
        let end = random.usize(at..=bytes.len().min(at + 16));
        match random.u8(..6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.insert(at, random.u8(..)),
            3 => {
                let repeated: Vec<u8> = bytes[at..end].to_vec();
                bytes.splice(at..at, repeated);
            }
            4 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.usize(..5)],
            _ if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            _ => {}
        }
    }
}
