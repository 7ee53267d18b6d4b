//! Both programs act on the same arguments alike, and refuse them with the same messages.

use std::fmt::Write;

use serde_json::Value;

use crate::lines::{LINES, LINKS};
use crate::world::{Said, World, worlds};

/// The comparable part of an error message: without the name of the program and the additions of
/// either.
fn complaint(said: &Said) -> Vec<String> {
    let lines = said.err.lines().filter(|line| !line.is_empty());
    // Each program has a usage text of its own.
    let lines =
        lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("MACVLAN:"));
    let lines = lines.filter(|line| !line.starts_with("umacvlan: "));
    lines.map(|line| line.replace("umacvlan", "ip")).collect()
}

/// The links, with the attributes that a user can have asked for.
fn links(world: &World) -> String {
    let all = world.everything();
    let mut all: Vec<String> = all.iter().map(|(place, link)| seen(place, link)).collect();
    all.sort();
    all.join("\n    ")
}

fn seen(place: &str, link: &Value) -> String {
    let mut text = place.to_owned();
    for field in ["ifname", "mtu", "promiscuity", "allmulti", "ifalias"] {
        let _ = write!(text, " {field} {}", link[field]);
    }
    let address = link["address"].as_str().unwrap();
    let chosen = address.starts_with("02:00:00:") || address.starts_with("02:aa:");
    let _ = write!(text, " address {}", if chosen { address } else { "any" });
    let txqlen = link["txqlen"].as_u64().unwrap();
    // The default differs between the programs.
    let default = txqlen == 1000 || txqlen == 4096;
    let _ = write!(text, " txqlen {}", if default { 0 } else { txqlen });
    let flags = link["flags"].as_array().unwrap();
    for flag in ["UP", "PROMISC", "ALLMULTI"] {
        let _ = write!(text, " {flag} {}", flags.iter().any(|set| set == flag));
    }
    let mut data = link["linkinfo"]["info_data"].clone();
    // The source list is a set: the last address to be added may be printed first or last.
    if let Some(stations) = data["macaddr_data"].as_array_mut() {
        stations.sort_by_key(ToString::to_string);
    }
    let _ = write!(text, " {data}");
    text
}

#[test]
fn both_programs_answer_every_line_alike_and_do_the_same() {
    let Some((kernel, ours)) = worlds() else {
        return;
    };
    let mut differences = String::new();
    let (mut fresh, mut now) = ([String::new(), String::new()], [String::new(), String::new()]);
    for line in LINES {
        for (number, world) in [&kernel, &ours].into_iter().enumerate() {
            // Most lines change nothing, and making links again takes a while.
            if now[number].is_empty() || now[number] != fresh[number] {
                world.reset(&LINKS);
                fresh[number] = links(world);
            }
        }
        let (wanted, got) = (kernel.run(line), ours.run(line));
        now = [links(&kernel), links(&ours)];
        let mut compare = |what: &str, wanted: &str, got: &str| {
            if wanted != got {
                let _ =
                    writeln!(differences, "{line}\n  {what} of ip: {wanted}\n  and of ours: {got}");
            }
        };
        let text = |said: &Said| format!("{:?}", complaint(said));
        compare("the status", &format!("{:?}", wanted.status), &format!("{:?}", got.status));
        compare("the complaint", &text(&wanted), &text(&got));
        compare("the output", &wanted.out, &got.out);
        compare("the links", &now[0], &now[1]);
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn an_error_message_has_additional_help() {
    let Some((_, ours)) = worlds() else { return };
    ours.reset(&LINKS);
    for (line, hint) in [
        (
            "link set q0 up",
            "umacvlan: q0 is not a umacvlan link: change other interfaces with ip link",
        ),
        ("link set m1 mtu 1600", "larger than the parent's 1500"),
        ("link add link p0 x type macvtap port dgram client /run/x", "port stream and vhost-user"),
        ("link add link p0 x netns {red} type macvtap port stream", "cannot be in a namespace"),
        ("link set m1 type macvtap mode vepa", "link m1 is of type macvlan"),
        ("link set m1 vf 0", "\"vf\" is not supported"),
        ("link set m1 master p0", "\"master\" is not supported"),
        ("link add link p0 x index 7 type macvlan", "\"index\" is not supported"),
        ("link add link p0 x numtxqueues 4 type macvlan", "\"numtxqueues\" is not supported"),
        ("link add link p0 x type macvlan mode bridge macaddr flush", "macaddr is for mode source"),
        ("link add x type macvlan", "a macvlan is made on a parent"),
        ("parent show q0", "it is no parent now"),
        ("-n {red} monitor", "leave out -n"),
    ] {
        let said = ours.run(line);
        assert!(!said.ok(), "{line}");
        let last = said.err.lines().last().unwrap();
        assert!(last.starts_with("umacvlan: ") && last.contains(hint), "{line}: {said:?}");
    }
}

#[test]
fn without_a_daemon_the_command_says_how_to_start_one() {
    let Some((_, mut ours)) = worlds() else {
        return;
    };
    ours.daemon.as_mut().unwrap().kill();
    for line in ["link", "link add link p0 x type macvlan", "link del m1", "parent", "monitor"] {
        let said = ours.run(line);
        assert_eq!((said.status, said.out.as_str()), (Some(1), ""), "{line}");
        assert!(said.err.starts_with("umacvlan: no daemon listens on "), "{said:?}");
        assert!(said.err.contains("umacvlan daemon"), "{said:?}");
    }
    // Errors in the arguments are reported all the same.
    assert_eq!(ours.run("link set m1 frob").status, Some(255));
}
