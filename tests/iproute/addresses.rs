//! One address for two links, and the parent's: both programs allow and refuse the same.

use crate::world::{World, worlds};

/// Lines that build on each other, each with the words of the refusal, or none.
const STORIES: [&[&str]; 5] = [
    &[
        "link add link p0 name x address 02:00:00:00:00:0a type macvlan mode bridge",
        "link add link p0 name y address 02:00:00:00:00:0a type macvlan mode bridge",
        "link set x up",
        "link set y up",
        "link set y address 02:00:00:00:00:0b",
        "link set y up",
        "link set y address 02:00:00:00:00:0a",
        "link set x down",
        "link set y address 02:00:00:00:00:0a",
        "link set x up",
        "link set y down",
        "link set x up",
    ],
    &[
        "link add link p0 name x address 02:00:00:00:00:0a up type macvlan mode bridge",
        "link add link p0 name y address 02:00:00:00:00:0a up type macvlan mode bridge",
        "link add link p0 name y address 02:00:00:00:00:0a type macvlan mode vepa",
        "link set y netns {red}",
        "-n {red} link set y up",
        "link del x",
        "-n {red} link set y up",
    ],
    &[
        "link add link p0 name x address 02:aa:00:00:00:01 type macvlan mode bridge",
        "link set x up",
        "link set x address 02:00:00:00:00:0a",
        "link set x up",
        "link set x address 02:aa:00:00:00:01",
        "link add link p0 name y address 02:aa:00:00:00:01 up type macvlan mode private",
    ],
    &[
        "link add link p0 name x address 02:aa:00:00:00:01 type macvlan mode passthru",
        "link set x up",
        "link set x down",
        "link set x address 02:aa:00:00:00:01",
        "link set x up",
    ],
    &[
        "link add link p0 name x address 02:00:00:00:00:0a type macvlan mode source",
        "link add link p0 name y address 02:00:00:00:00:0a type macvlan mode source",
        "link set y up",
        "link set x up",
        "link del y",
        "link set x up",
    ],
];

/// The links that are up, with their addresses.
fn up(world: &World) -> Vec<String> {
    let all = world.everything();
    let up =
        all.iter().filter(|(_, link)| link["flags"].as_array().unwrap().contains(&"UP".into()));
    let mut up: Vec<_> =
        up.map(|(place, link)| format!("{place} {} {}", link["ifname"], link["address"])).collect();
    up.sort();
    up
}

#[test]
fn both_allow_and_refuse_an_address_alike() {
    let Some((kernel, ours)) = worlds() else {
        return;
    };
    let mut refusals = 0;
    for story in STORIES {
        for world in [&kernel, &ours] {
            world.reset(&[]);
        }
        for line in story {
            let (wanted, got) = (kernel.run(line), ours.run(line));
            let words = |text: &str| text.lines().next().unwrap_or_default().to_owned();
            let warned = got.status == Some(0);
            let complaint = if warned { String::new() } else { words(&got.err) };
            assert_eq!((wanted.status, words(&wanted.err)), (got.status, complaint), "{line}");
            assert_eq!(up(&kernel), up(&ours), "{line}");
            refusals += usize::from(wanted.err.contains("Address already in use"));
        }
    }
    assert_eq!(refusals, 9, "the kernel refuses less or more than these lines are about");
}

#[test]
fn a_link_whose_address_is_in_use_is_made_with_a_warning() {
    let Some((_, ours)) = worlds() else { return };
    ours.reset(&["x address 02:00:00:00:00:0a up type macvlan mode bridge"]);
    for (address, whose) in
        [("02:00:00:00:00:0a", "sub-interface"), ("02:aa:00:00:00:01", "parent")]
    {
        let said = ours.run(&format!("link add link p0 name y address {address} type macvlan"));
        assert!(said.ok(), "{said:?}");
        let warning = "umacvlan: y cannot come up yet: address already in use";
        assert!(said.err.starts_with(warning) && said.err.contains(whose), "{said:?}");
        let shown = ours.run("-d -j link show y").json();
        assert!(shown[0]["umacvlan"]["conflict"].as_str().unwrap().contains(address), "{shown}");
        assert!(ours.run("link del y").ok());
    }
    let said = ours.run("link add link p0 name y address 02:00:00:00:00:0b type macvlan");
    assert!(said.ok() && said.err.is_empty(), "{said:?}");
}
