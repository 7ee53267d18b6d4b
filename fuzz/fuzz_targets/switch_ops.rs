//! The switch agrees with the model under any operations.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/core/tests/model/mod.rs"]
mod model;

use model::ops::{Op, Pair};

fuzz_target!(|bytes: &[u8]| {
    let mut pair = Pair::new();
    for code in bytes.as_chunks().0 {
        pair.step(&Op::decode(*code));
    }
});
