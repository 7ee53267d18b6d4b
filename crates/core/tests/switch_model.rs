//! The switch agrees with a slow, obvious model under random operations.

mod model;

use model::ops::{Op, Pair};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_switch_agrees_with_the_model(
        ops in prop::collection::vec(any::<[u8; 6]>().prop_map(Op::decode), 1..120),
    ) {
        let mut pair = Pair::new();
        for op in &ops {
            pair.step(op);
        }
    }
}
