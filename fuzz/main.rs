//! One of the targets of `umacvlan-fuzz`, under libFuzzer: `UMACVLAN_FUZZ` has its name.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use umacvlan_fuzz::{Target, target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("UMACVLAN_FUZZ").expect("UMACVLAN_FUZZ has the name of a target");
    target(&name).unwrap_or_else(|| panic!("there is no target {name}"))
});

fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
