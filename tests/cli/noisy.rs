//! A sub-interface that is changed again and again: `run` prints a few lines, and the last state.

use umacvlan_core::MacAddr;
use umacvlan_testkit::root_or_skip;

use crate::world::World;

#[test]
fn of_many_changes_some_are_printed_and_the_last_one() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    let running = world.start(&["--sub", "m1", "--sub", "m2"]);
    running.ready();
    let (index, other) = (world.link("m1").index, world.link("m2").index);
    for last in 0..=200 {
        world.rtnl.set_mac(index, MacAddr::new([2, 0, 0, 0, 1, last])).unwrap();
        // So many are printed at once, if each is seen alone.
        if last < 5 {
            running.until_error(&format!("02:00:00:00:01:{last:02x}"));
        }
    }
    // It is followed after the last of those.
    world.rtnl.set_mtu(other, 1400).unwrap();
    let mut errors = running.until_error("m2 is now");
    let (status, _, rest) = running.terminate();
    assert!(status.success());
    errors.extend(rest);
    let [other, number, last] = &errors[..] else {
        panic!("{errors:#?}");
    };
    assert!(other.contains("m2 is now"), "{errors:#?}");
    assert!(number.contains("m1, sub_changed: ") && number.contains(" more in "), "{errors:#?}");
    assert!(last.contains("m1 is now") && last.contains("02:00:00:00:01:c8"), "{errors:#?}");
}
