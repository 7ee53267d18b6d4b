//! `umacvlan` shows its links as `ip` shows those of the kernel's macvlan.

use serde_json::{Map, Value};

use crate::world::{World, worlds};

/// Fields that necessarily differ, with their names in JSON and in text, and the reason.
const DIFFERENT: [(&str, &str, &str); 5] = [
    ("ifindex", "", "numbers are given to interfaces as they come"),
    ("qdisc", "qdisc", "a TAP has a queue, in which frames wait for the engine"),
    ("txqlen", "qlen", "that queue is longer than the one that a macvlan has and does not use"),
    ("max_mtu", "maxmtu", "the kernel allows a TAP a little less than 64 KiB"),
    (
        "tso_max_size",
        "tso_max_size",
        "a TAP takes frames of 64 KiB, a macvlan what its parent takes",
    ),
];

/// A link of each mode, with options that are visible in the output.
const LINKS: [&str; 5] = [
    "m1 address 02:00:00:00:00:01 type macvlan mode bridge",
    "m2 address 02:00:00:00:00:02 mtu 1400 type macvlan mode vepa nodst",
    "m3 address 02:00:00:00:00:03 promisc on allmulticast on type macvlan mode private bcqueuelen 7",
    "m4 address 02:00:00:00:00:04 type macvlan mode source macaddr set 02:00:00:00:00:77 02:00:00:00:00:78",
    "m5 address 02:00:00:00:00:05 type macvlan mode source",
];

fn populated() -> Option<(World, World)> {
    let (kernel, ours) = worlds()?;
    for world in [&kernel, &ours] {
        world.reset(&LINKS);
        for line in [
            "link set m1 up",
            "link set m2 alias 'two words'",
            "link set m3 up",
            "link set m5 netns {red}",
        ] {
            let said = world.run(line);
            assert!(said.ok(), "{line}: {said:?}");
        }
        let up = || world.run("link show m3").out.contains("state UP");
        assert!((0..3000).any(|_| up()), "{:?}", world.run("link show m3"));
    }
    Some((kernel, ours))
}

const NAMES: [&str; 4] = ["m1", "m2", "m3", "m4"];

/// Text without the fields that differ by nature and the lines that only `umacvlan` prints.
fn comparable(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("    umacvlan "));
    lines.map(|line| comparable_line(line) + "\n").collect()
}

fn comparable_line(line: &str) -> String {
    let line = line.split("\\    umacvlan ").next().unwrap();
    let mut words: Vec<&str> = line.split(' ').collect();
    if words[0].ends_with(':') {
        words[0] = "N:";
    }
    for place in 1..words.len() {
        if DIFFERENT.iter().any(|(_, name, _)| !name.is_empty() && *name == words[place - 1]) {
            words[place] = "*";
        }
        // The kernel's list has the order of its hash table.
        if words[place - 1] == "remotes" {
            let count: usize = words[place].trim_matches(['(', ')']).parse().unwrap();
            words[place + 1..][..count].sort_unstable();
        }
    }
    words.join(" ")
}

#[test]
fn text_is_what_ip_prints() {
    let Some((kernel, ours)) = populated() else { return };
    for options in [
        "",
        "-d",
        "-s",
        "-s -s",
        "-d -s -s",
        "-o",
        "-o -d -s -s",
        "-br",
        "-br -d",
        "-h -s",
        "-iec -h -s",
        "-N -d",
        "-c -d",
        "-c -br",
        "-p",
    ] {
        for name in NAMES {
            let line = format!("{options} link show {name}");
            let (wanted, got) = (kernel.run(&line), ours.run(&line));
            assert!(got.ok(), "{line}: {got:?}");
            assert_eq!(comparable(&got.out), comparable(&wanted.out), "{line}");
        }
        let line = format!("-n {{red}} {options} link show m5");
        assert_eq!(comparable(&ours.run(&line).out), comparable(&kernel.run(&line).out), "{line}");
    }
    for line in
        ["link show up type macvlan", "link show type macvlan m1", "l sh dev m2", "link list m1"]
    {
        assert_eq!(comparable(&ours.run(line).out), comparable(&kernel.run(line).out), "{line}");
    }
}

/// A JSON object without the fields that differ by nature and those that only `umacvlan` prints.
fn fields(link: &Value) -> Map<String, Value> {
    let mut fields = link.as_object().unwrap().clone();
    for (name, _, _) in DIFFERENT {
        fields.remove(name);
    }
    fields.remove("umacvlan");
    if let Some(Value::Array(stations)) =
        fields.get_mut("linkinfo").and_then(|info| info.pointer_mut("/info_data/macaddr_data"))
    {
        // The kernel's list has the order of its hash table.
        stations.sort_by_key(ToString::to_string);
    }
    fields
}

/// The names of all fields, in the order of the text.
fn order(text: &str) -> Vec<String> {
    let names = text.split('"').zip(text.split('"').skip(1));
    let mut order = Vec::new();
    for (place, (name, after)) in names.enumerate() {
        if place % 2 == 1 && after.trim_start().starts_with(':') && name != "umacvlan" {
            order.push(name.to_owned());
        }
    }
    order
}

#[test]
fn json_is_what_ip_prints() {
    let Some((kernel, ours)) = populated() else { return };
    for options in
        ["-j", "-j -d", "-j -s", "-j -s -s", "-j -d -s -s", "-j -br", "-j -N -d", "-j -o -d"]
    {
        let mut lines: Vec<String> = NAMES.map(|name| format!("{options} link show {name}")).into();
        lines.push(format!("-n {{red}} {options} link show m5"));
        for line in lines {
            let (wanted, got) = (kernel.run(&line), ours.run(&line));
            let (wanted_json, got_json) = (wanted.json(), got.json());
            let objects = [&wanted_json, &got_json].map(|json| json.as_array().unwrap());
            assert!(objects.iter().all(|objects| objects.len() == 1), "{line}: {got:?}");
            assert_eq!(fields(&objects[1][0]), fields(&objects[0][0]), "{line}");
            let theirs = got.out.split("\"umacvlan\"").next().unwrap();
            assert_eq!(order(theirs), order(&wanted.out), "{line}");
            // Pretty printing changes the layout only.
            let pretty = line.replace("-j", "-j -p");
            let (wanted, got) = (kernel.run(&pretty), ours.run(&pretty));
            assert_eq!(got.json(), got_json, "{pretty}");
            let shape = |text: &str| {
                let lines = text.split("\"umacvlan\"").next().unwrap().lines();
                let lines = lines
                    .map(|line| line.split(": ").next().unwrap().trim_end_matches(',').to_owned());
                lines.collect::<Vec<_>>()
            };
            let (wanted, got) = (shape(&wanted.out), shape(&got.out));
            let same = got.len().min(wanted.len()) - 1;
            assert_eq!(got[..same], wanted[..same], "{pretty}");
        }
    }
}

#[test]
fn counters_count_what_the_kernel_counts() {
    let Some((kernel, ours)) = populated() else { return };
    for world in [&kernel, &ours] {
        world.broadcast("m1", "10.0.1", 3);
        world.broadcast("q0", "10.0.2", 5);
    }
    let stats = |world: &World, name: &str| {
        world.run(&format!("-j -s -s link show {name}")).json()[0]["stats64"].clone()
    };
    for name in ["m1", "m3"] {
        let wanted = stats(&kernel, name);
        assert_eq!(wanted["rx"]["packets"], 5, "{name}: {wanted}");
        // The engine's timestamps differ.
        assert!(
            (0..3000).any(|_| stats(&ours, name) == wanted),
            "{:#} {wanted:#}",
            stats(&ours, name)
        );
    }
    assert_eq!(stats(&kernel, "m1")["tx"]["packets"], 3);
    let text = |world: &World| comparable(&world.run("-s -s link show m1").out);
    assert_eq!(text(&ours), text(&kernel));
}

#[test]
fn links_of_all_namespaces_are_shown_with_where_they_are() {
    let Some((_, ours)) = populated() else {
        return;
    };
    let all = ours.run("link").out;
    let heads = all.lines().filter(|line| !line.starts_with(' '));
    let names: Vec<&str> = heads.map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(names, ["m1@p0:", "m2@p0:", "m3@p0:", "m4@p0:", "m5@p0:"], "{all}");
    let elsewhere: Vec<&str> = all.lines().filter(|line| line.contains(" netns ")).collect();
    assert_eq!(elsewhere.len(), 1, "{all}");
    assert!(elsewhere[0].contains(" netns net:["), "{all}");
    let place = elsewhere[0].split_once(" netns ").unwrap().1.trim();
    let brief = ours.run("-br link").out;
    let ends = brief.lines().filter(|line| line.ends_with(&format!("> netns {place} ")));
    assert_eq!(ends.count(), 1, "{brief}");
    let inside = ours.run(&format!("-n {place} -br link")).out;
    assert!(inside.starts_with("m5@if") && !inside.contains("netns"), "{inside}");
    for filter in ["parent p0", "link p0", "master p0"] {
        assert_eq!(ours.run(&format!("link show {filter}")).out, all, "{filter}");
    }
    assert_eq!(ours.run("link show parent q0").out, "");
    let absent = ours.run("link show parent nosuch");
    assert_eq!(absent.err, "Error: argument \"nosuch\" is wrong: Device does not exist\n");
}

#[test]
fn additional_fields_are_shown_beside_ips() {
    let Some((_, ours)) = populated() else { return };
    let own = |line: &str| {
        let text = ours.run(line).out;
        let own = text.lines().filter(|line| line.starts_with("    umacvlan "));
        own.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(own("link show m1"), [""; 0]);
    let details = own("-d link show m1");
    assert!(details[0].contains(" backend af-packet io "), "{details:?}");
    // Why, of each of many links, is told of their parent once.
    assert_eq!(details.len(), 1, "{details:?}");
    let parent = ours.run("-d parent show p0").out;
    assert!(parent.contains("    why this backend: with veth, AF_PACKET keeps GSO"), "{parent}");
    let counted = own("-s -s link show m1");
    assert!(counted.iter().any(|line| line.contains("rx offered ")), "{counted:?}");
    let link = &ours.run("-j -d -s link show m1").json()[0];
    assert_eq!(link["umacvlan"]["parent"], "p0");
    assert!(link["umacvlan"]["counters"]["lost"].is_object(), "{link}");
    assert!(ours.run("-j -d link show m1").json()[0]["umacvlan"]["counters"].is_null());

    let parents = ours.run("parent").out;
    assert!(parents.starts_with("PARENT  STATE") && parents.contains("\np0      up "), "{parents}");
    assert_eq!(ours.run("-j parent show p0").json()[0]["links"], 5);
    assert!(ours.run("-d -s parent show p0").out.contains("    tx "), "{parents}");
}
