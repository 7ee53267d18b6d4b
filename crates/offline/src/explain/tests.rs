//! Questions and their answers.

use proptest::prelude::*;
use serde_json::Value;
use umacvlan_core::{Frame, MacAddr};

use super::answer::Answer;
use super::question::{FrameSummary, Question};
use super::{switch_from_config, switch_from_daemon};
use crate::offline_switch::{Assumptions, OfflineSwitch};
use umacvlan_api::{InfoData, LinkInfo, LinkView, ParentView, UmacvlanInfo};
use umacvlan_config::Config;

const LAB: &str = "\
    [link.a]\nparent = \"p\"\nmode = \"bridge\"\naddress = \"02:00:00:00:00:01\"\n\
    [link.b]\nparent = \"p\"\nmode = \"bridge\"\naddress = \"02:00:00:00:00:02\"\nmtu = 68\n\
    [link.c]\nparent = \"p\"\nmode = \"private\"\naddress = \"02:00:00:00:00:03\"\n\
    [link.d]\nparent = \"p\"\nmode = \"source\"\naddress = \"02:00:00:00:00:04\"\n\
    macaddr = [\"02:00:00:00:00:08\"]\nnodst = true\n\
    [link.e]\nparent = \"p\"\naddress = \"02:00:00:00:00:05\"\nup = false\n\
    [link.o]\nparent = \"q\"\nmode = \"passthru\"\nup = false\n";

fn question(text: &str, hex: Option<&str>) -> Result<Question, String> {
    Question::read(&[text.to_owned()], hex).map_err(|error| format!("{error:#}"))
}

/// The answer with that configuration, as JSON and as text.
fn explain(text: &str, hex: Option<&str>) -> (Value, String) {
    let config = Config::parse("test", LAB, &[]).unwrap().config;
    let question = question(text, hex).unwrap();
    let (offline, from) = switch_from_config(&config, &question, &Assumptions::default()).unwrap();
    answer(&offline, &question, from)
}

fn answer(
    offline: &OfflineSwitch,
    question: &Question,
    from: Option<umacvlan_core::SubIndex>,
) -> (Value, String) {
    let own = from.and_then(|id| offline.switch.sub(id)).map(|sub| sub.mac());
    let bytes = question.frame.bytes(own, |name| offline.address_of(name)).unwrap();
    let frame = Frame::new(&bytes).unwrap();
    let explanation = match from {
        Some(id) => offline.switch.explain_egress(id, frame, question.gso),
        None => offline.switch.explain_ingress(frame),
    };
    let answer = Answer::new(offline, from, frame, true, explanation);
    (serde_json::to_value(&answer).unwrap(), answer.text())
}

#[test]
fn the_name_of_a_link_stands_for_its_address() {
    let (by_name, _) = explain("a egress dst=b", None);
    let (by_address, _) = explain("a egress dst=02:00:00:00:00:02", None);
    assert_eq!((&by_name, &by_name["to"]), (&by_address, &serde_json::json!(["b"])));
    let (from_b, _) = explain("p ingress dst=a src=b", None);
    assert!(from_b["frame"].as_str().unwrap().starts_with("02:00:00:00:00:02 > 02:00:00:00:00:01"));
    let (to_parent, _) = explain("a egress dst=p", None);
    assert!(!to_parent["frame"].as_str().unwrap().contains("> 02:00:00:00:00:0"), "{to_parent}");
    let config = Config::parse("test", LAB, &[]).unwrap().config;
    let question = question("a egress dst=z", None).unwrap();
    let (offline, _) = switch_from_config(&config, &question, &Assumptions::default()).unwrap();
    let unknown = question.frame.bytes(Some(MacAddr::ZERO), |name| offline.address_of(name));
    let unknown = format!("{:#}", unknown.unwrap_err());
    assert!(unknown.contains("dst: \"z\" is not a MAC address, and p has no link"), "{unknown}");
}

#[test]
fn limits_of_the_sender_and_the_receiver_are_noted() {
    let limited = LAB.replacen("mode = \"bridge\"", "mode = \"bridge\"\ntx_rate = \"1mbit\"", 1);
    let limited = limited.replacen("mtu = 68", "rx_pps = 7", 1);
    let config = Config::parse("test", &limited, &[]).unwrap().config;
    let noted = |text: &str| {
        let question = question(text, None).unwrap();
        let (offline, from) =
            switch_from_config(&config, &question, &Assumptions::default()).unwrap();
        let (_, text) = answer(&offline, &question, from);
        text.lines().filter(|line| line.contains("has limits")).count()
    };
    let text = "a egress dst=02:00:00:00:00:02 len=60";
    assert_eq!(noted(text), 2, "a sends it and b receives it");
    assert_eq!(noted("b egress dst=02:00:00:00:00:01 len=60"), 0, "a limit has a direction");
    assert_eq!(noted("p ingress dst=02:00:00:00:00:02 src=02:00:00:00:00:99"), 1);
}

#[test]
fn rules_of_both_ends_are_explained() {
    let ruled = LAB.replacen(
        "mode = \"bridge\"",
        "mode = \"bridge\"\nisolation = \"web\"\nallow_mac = [\"02:00:00:00:00:99\"]",
        1,
    );
    let ruled =
        ruled.replacen("mtu = 68", "isolation = true\nallow_ethertype = \"arp, 0x88b5\"", 1);
    let config = Config::parse("test", &ruled, &[]).unwrap().config;
    for (text, words) in [
        (
            "a egress dst=02:00:00:00:00:02",
            "> 15.3   isolation: b at the other end is not in the group",
        ),
        (
            "a egress dst=02:00:00:00:00:98",
            "> 15.4   allow_mac of the sender does not have 02:00:00:00:00:98",
        ),
        ("a egress dst=ff:ff:ff:ff:ff:ff type=arp", "skipped: isolated from the sender"),
        ("a egress dst=02:00:00:00:00:99", "rules of the sender: nothing is against it"),
        ("a egress dst=02:00:00:00:00:99", "verdict: to the wire\n"),
        (
            "p ingress dst=02:00:00:00:00:02 src=02:00:00:00:00:99 type=ipv4",
            "> 15.4   allow_ethertype of the receiver does not have ipv4",
        ),
        (
            "p ingress dst=ff:ff:ff:ff:ff:ff src=02:00:00:00:00:98",
            "skipped: its rules do not allow it",
        ),
    ] {
        let question = question(text, None).unwrap();
        let (offline, from) =
            switch_from_config(&config, &question, &Assumptions::default()).unwrap();
        let (_, explained) = answer(&offline, &question, from);
        assert!(explained.contains(words), "{text}: {explained}");
    }
}

#[test]
fn each_rule_of_the_semantics_decides_some_frame() {
    for (question, section, verdict, words) in [
        ("p ingress src=02:00:00:00:00:08 dst=02:00:00:00:00:01", "2.1", "drop", "nodst of d ends"),
        (
            "q ingress src=02:00:00:00:00:09 dst=02:00:00:00:00:01",
            "2.2.1",
            "drop",
            "o owns the parent, is down",
        ),
        (
            "p ingress src=02:00:00:00:00:09 dst=02:00:00:00:00:07",
            "2.2.2",
            "host",
            "none of the links",
        ),
        (
            "p ingress src=02:00:00:00:00:09 dst=02:00:00:00:00:04",
            "2.2.2",
            "host",
            "by its source list only",
        ),
        (
            "p ingress src=02:00:00:00:00:01 dst=02:00:00:00:00:03",
            "2.2.3",
            "drop",
            "source is a, a sibling",
        ),
        ("p ingress src=02:00:00:00:00:09 dst=02:00:00:00:00:01", "2.2.4", "deliver", "a gets it"),
        (
            "p ingress src=02:00:00:00:00:03 dst=ff:ff:ff:ff:ff:ff",
            "2.3.1",
            "deliver",
            "goes to its sender alone",
        ),
        (
            "p ingress src=02:00:00:00:00:09 dst=01:80:c2:00:00:01 type=pause",
            "2.3.2",
            "host",
            "MAC control",
        ),
        (
            "p ingress src=02:00:00:00:00:09 dst=01:00:5e:7f:00:01",
            "2.3.2",
            "host",
            "nobody listens",
        ),
        (
            "p ingress src=02:00:00:00:00:09 dst=ff:ff:ff:ff:ff:ff vlan=7",
            "2.3.3",
            "flood",
            "broadcast queue",
        ),
        ("e egress dst=ff:ff:ff:ff:ff:ff", "1", "drop", "the sender is down"),
        (
            "a egress dst=02:00:00:00:00:02 len=1519",
            "3.1",
            "drop",
            "do not fit the parent's MTU 1500",
        ),
        ("a egress dst=02:00:00:00:00:02 len=1519 gso", "3.1", "deliver", "b gets it"),
        ("a egress dst=02:00:00:00:00:02 src=02:00:00:00:00:08", "3.1", "drop", "nodst of d"),
        ("a egress dst=02:00:00:00:00:03", "3.1", "wire", "no bridge link"),
        ("a egress dst=01:00:5e:7f:00:01", "3.2", "wire", "nobody listens"),
        ("a egress dst=ff:ff:ff:ff:ff:ff len=100", "3.2", "flood", "other bridge links"),
        ("c egress dst=02:00:00:00:00:01", "3.3", "wire", "not bridge"),
    ] {
        let (json, text) = explain(question, None);
        let last = json["steps"].as_array().unwrap().last().unwrap();
        assert_eq!(
            (last["section"].as_str(), json["verdict"].as_str()),
            (Some(section), Some(verdict)),
            "{question}"
        );
        assert!(last["text"].as_str().unwrap().contains(words), "{question}: {text}");
        // Exactly that line has the mark.
        let marked: Vec<&str> = text.lines().filter(|line| line.starts_with("> ")).collect();
        assert!(marked.len() == 1 && marked[0].contains(words), "{question}: {text}");
    }
}

#[test]
fn a_flood_lists_the_decision_for_every_link() {
    let (json, text) = explain("a egress dst=ff:ff:ff:ff:ff:ff len=100", None);
    let parts: Vec<String> = json["flood"]
        .as_array()
        .unwrap()
        .iter()
        .map(|role| {
            format!("{} {}", role["link"].as_str().unwrap(), role["part"].as_str().unwrap())
        })
        .collect();
    assert_eq!(parts, ["a sender", "b too_long", "c mode", "d mode", "e mode"]);
    assert!(
        text.contains("e: skipped: down") && text.contains("b: skipped: too long for its MTU 68")
    );
    assert!(text.contains("verdict: flood: the wire\n"), "{text}");
}

#[test]
fn sections_exist_in_semantics_md() {
    let semantics = include_str!("../../../../docs/semantics.md");
    let section = |number: &str| {
        let head = format!("\n## {number}. ");
        semantics.split(&head).nth(1).unwrap().split("\n## ").next().unwrap()
    };
    assert!(
        section("2").contains("1. **Source lists.**") && section("2").contains("2. **Unicast**")
    );
    assert!(
        section("2").contains("3. **Group**")
            && section("2").contains("   4. otherwise: to the owner")
    );
    assert!(section("3").contains("1. A bridge sub-interface sends **unicast**"));
    assert!(section("3").contains("3. Everything else goes to the wire"));
    assert!(section("15").contains("\n1. **`spoofchk`**"));
    assert!(section("15").contains("\n3. **`isolation`**"));
    assert!(section("15").contains("\n4. **`allow_mac`** and **`allow_ethertype`**"));
    assert!(section("15").contains("\n5. **`allow_ip`**"));
    assert!(section("1").contains("Only sub-interfaces that are **up** take part"));
}

#[test]
fn a_frame_in_hex_is_parsed_to_its_ports() {
    let hex = "02:00:00:00:00:01 02-00-00-00-00-09 8100 0007 0800 \
               4500 0020 0000 0000 4011 0000 c000 0201 c000 0202 1234 0035 000c 0000 6162 6364";
    let (json, _) = explain("p ingress", Some(hex));
    let summary = json["frame"].as_str().unwrap();
    let wanted = "02:00:00:00:00:09 > 02:00:00:00:00:01, VLAN 7, type 0x0800 (ipv4), 50 bytes, \
                  192.0.2.1 > 192.0.2.2, UDP 4660 > 53";
    assert_eq!(summary, wanted);
    assert_eq!(json["to"], serde_json::json!(["a"]));
}

#[test]
fn a_malformed_question_is_refused_with_the_expected_form() {
    for (text, hex, words) in [
        ("", None, "expected \"PARENT ingress"),
        ("p", None, "no direction"),
        ("p sideways", None, "\"sideways\" is no direction"),
        ("p ingress dst", None, "\"dst\" is not understood"),
        ("p ingress dest=1", None, "expected one of dst, len, src, type, vlan"),
        ("p ingress dst=1:2", None, "in \"dst=1:2\": \"1:2\" is not a MAC address"),
        ("p ingress dst=", None, "is not a MAC address"),
        ("p ingress vlan=4096", None, "from 0 to 4095"),
        ("p ingress type=ip", None, "one of arp, eapol, ipv4"),
        ("p ingress len=13", None, "expected bytes, from 14"),
        ("p ingress", Some("0g"), "pairs of hex digits"),
        ("p ingress", Some("020"), "pairs of hex digits"),
        ("p ingress", Some("02 00"), "2 bytes, expected 14"),
        ("p ingress len=60", Some("00"), "no words about it"),
    ] {
        let error = question(text, hex).unwrap_err();
        assert!(error.contains(words), "{text}: {error}");
    }
    let nothing = |name: &str| anyhow::bail!("no {name}");
    let missing = |text| {
        format!("{:#}", question(text, None).unwrap().frame.bytes(None, nothing).unwrap_err())
    };
    assert!(missing("p ingress dst=mac9").contains("dst: no mac9"));
    assert!(missing("p ingress").contains("dst= is missing"));
    assert!(missing("p ingress dst=02:00:00:00:00:01").contains("src= is missing"));
}

fn parent(name: &str) -> ParentView {
    ParentView {
        name: name.to_owned(),
        address: "02:00:00:00:00:10".to_owned(),
        mtu: 1500,
        present: true,
        semantics: "documented".to_owned(),
        bclim: 1,
        ..ParentView::default()
    }
}

fn link(parent: &str, name: &str, netns: &str, mac: &str, mode: &str) -> LinkView {
    LinkView {
        ifname: name.to_owned(),
        address: Some(mac.to_owned()),
        flags: vec!["UP".to_owned()],
        mtu: 1500,
        linkinfo: LinkInfo {
            info_kind: "macvlan".to_owned(),
            info_data: InfoData { mode: mode.to_owned(), ..InfoData::default() },
        },
        umacvlan: UmacvlanInfo {
            parent: parent.to_owned(),
            netns: Some(netns.to_owned()),
            groups: vec!["01:00:5e:00:00:fb".to_owned()],
            ..UmacvlanInfo::default()
        },
        ..LinkView::default()
    }
}

#[test]
fn links_of_the_daemon_are_distinguished_by_namespace_and_receive_their_groups() {
    let parents = [parent("p"), parent("q")];
    let links = [
        link("p", "eth0", "red", "02:00:00:00:00:01", "bridge"),
        link("p", "eth0", "blue", "02:00:00:00:00:02", "bridge"),
        link("q", "mac1", "red", "02:00:00:00:00:10", "passthru"),
    ];
    let explain = |text: &str| {
        let question = question(text, None).unwrap();
        let (offline, from) =
            switch_from_daemon(&parents, &links, &question).map_err(|error| error.to_string())?;
        Ok::<_, String>(answer(&offline, &question, from))
    };
    let (json, text) = explain("red/eth0 egress dst=01:00:5e:00:00:fb").unwrap();
    assert_eq!((&json["to"], &json["wire"]), (&serde_json::json!(["blue/eth0"]), &true.into()));
    assert!(text.contains("note: p has no carrier") && text.contains("note: not known:"), "{text}");
    let (json, _) = explain("q ingress src=02:00:00:00:00:09 dst=02:00:00:00:00:77").unwrap();
    assert_eq!(json["to"], serde_json::json!(["mac1"]));
    assert!(explain("eth0 egress dst=02:00:00:00:00:02").unwrap_err().contains("NAMESPACE/NAME"));
    assert!(explain("r ingress").unwrap_err().contains("no parent r"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_input_ends_in_a_question_or_an_error(
        text in "[a-z0-9=: ]{0,40}",
        hex in "[0-9a-f: ]{0,80}",
        bytes in prop::collection::vec(any::<u8>(), 14..120),
    ) {
        let _ = question(&text, None);
        let _ = question("p ingress", Some(&hex));
        let summary = FrameSummary { frame: Frame::new(&bytes).unwrap(), whole: true }.to_string();
        let source = MacAddr::new(bytes[6..12].try_into().unwrap());
        prop_assert!(summary.starts_with(&source.to_string()));
    }
}
