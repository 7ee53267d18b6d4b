//! Arguments of `link add`, `set` and `del`, and the requests they become.

use umacvlan_core::limit::Limits;
use umacvlan_core::options::ProgramKind;
use umacvlan_core::{MacvlanFlag, MacvlanFlags, MacvlanSettings, Mode};

use crate::ip::command::{Command, parse};
use crate::ip::error::{CommandError, Device};
use crate::ip::link::LinkCommand;
use crate::ip::tests::words;
use umacvlan_api::{LinkChange, LinkSpec, MacaddrChange, MacaddrOp, MacvlanChange};

fn parsed(line: &str) -> Result<LinkCommand, CommandError> {
    match parse(&words(&format!("link {line}")))? {
        Command::Link(command) => Ok(command),
        other => panic!("{line}: {other:?}"),
    }
}

fn added(line: &str) -> (Option<String>, LinkSpec) {
    match parsed(line) {
        Ok(LinkCommand::Add { name, spec }) => (name, *spec),
        other => panic!("{line}: {other:?}"),
    }
}

fn changed(line: &str) -> (String, LinkChange) {
    match parsed(line) {
        Ok(LinkCommand::Set { name, change }) => (name, *change),
        other => panic!("{line}: {other:?}"),
    }
}

fn only(flag: MacvlanFlag) -> MacvlanFlags {
    MacvlanFlags::default().with(flag, true)
}

/// The first line of the complaint, and the status.
fn refused(line: &str) -> (String, u8) {
    let error = parsed(line).expect_err(line);
    (error.text.lines().next().unwrap_or_default().to_owned(), error.status)
}

#[test]
fn a_new_link_has_what_was_typed_and_nothing_else() {
    let (name, spec) = added("add link eth0 mac1 type macvlan");
    assert_eq!(name.as_deref(), Some("mac1"));
    assert_eq!(spec, LinkSpec { parent: "eth0".into(), ..LinkSpec::default() });

    let (name, spec) = added(
        "a link eth0 name mac1 addr 2:0:0:0:0:1 mtu 0x500 txq 50 netns red alias x promisc on \
         allmulticast on up type macvlan m source nodst mac set 02:00:00:00:00:05 6:5:4:3:2:1 \
         bcq 7 bclim -1",
    );
    assert_eq!(name.as_deref(), Some("mac1"));
    let wanted = LinkSpec {
        parent: "eth0".into(),
        address: Some("02:00:00:00:00:01".parse().unwrap()),
        alias: Some("x".into()),
        allmulticast: true,
        settings: MacvlanSettings {
            mode: Mode::Source,
            flags: only(MacvlanFlag::Nodst),
            bcqueuelen: Some(7),
            bclim: Some(-1),
            limits: Limits::default(),
            rules: Default::default(),
            sources: ["02:00:00:00:00:05", "06:05:04:03:02:01"]
                .map(|mac| mac.parse().unwrap())
                .into(),
        },
        mtu: Some(1280),
        netns: Some("red".into()),
        promisc: true,
        txqueuelen: Some(50),
        up: Some(true),
        ..LinkSpec::default()
    };
    assert_eq!(spec, wanted);
}

#[test]
fn the_far_end_of_a_macvtap_is_a_program() {
    let (name, spec) = added(
        "add link eth0 vm1 address 02:00:00:00:00:01 type macvtap mode bridge port stream user 107 \
         group root bcqueuelen 7",
    );
    assert_eq!(name.as_deref(), Some("vm1"));
    let wanted = LinkSpec {
        parent: "eth0".into(),
        address: Some("02:00:00:00:00:01".parse().unwrap()),
        settings: MacvlanSettings { bcqueuelen: Some(7), ..MacvlanSettings::new(Mode::Bridge) },
        port: Some(ProgramKind::Stream),
        user: Some(107),
        group: Some(0),
        ..LinkSpec::default()
    };
    assert_eq!(spec, wanted);
}

#[test]
fn a_program_may_be_behind_an_interface() {
    let (_, spec) = added("add link eth0 vm1 type macvtap port dev tap0 mode bridge");
    assert_eq!((spec.port, spec.dev.as_deref()), (Some(ProgramKind::Dev), Some("tap0")));
    assert_eq!(spec.settings.mode, Mode::Bridge);
    let (_, spec) = added("add link eth0 vm1 type macvtap port dgram group root");
    assert_eq!((spec.port, spec.group), (Some(ProgramKind::Dgram), Some(0)));
    let (_, spec) = added("add link eth0 vm1 type macvtap port tap user 107");
    assert_eq!((spec.port, spec.dev, spec.user), (Some(ProgramKind::Tap), None, Some(107)));
}

#[test]
fn a_new_link_may_ask_a_dhcp_server_and_be_reached_by_the_host() {
    let line = "add link p m1 type macvlan mode bridge dhcp dhcp_hostname web dhcp_client_id ab";
    let (_, spec) = added(line);
    let dhcp = spec.dhcp.unwrap();
    assert_eq!((dhcp.hostname.as_deref(), dhcp.client_id.as_deref()), (Some("web"), Some("ab")));
    assert_eq!(added("add link p m1 type macvlan dhcp off").1.dhcp, None);
    let line = "add link p m1 type macvlan host 192.0.2.7,2001:db8::/64 host_address 192.0.2.1";
    let (_, spec) = added(line);
    let shown: Vec<_> = spec.host.to.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["192.0.2.7", "2001:db8::/64"]);
    assert_eq!(spec.host.from, ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(changed("set m1 type macvlan host 192.0.2.8").1.host.unwrap().to.len(), 1);
    assert!(changed("set m1 type macvlan host off").1.host.unwrap().is_off());
    assert_eq!(changed("set m1 type macvlan mode vepa").1.host, None);
    for (line, words) in [
        ("add link p m1 type macvlan dhcp_hostname web", "are for a link with dhcp on"),
        ("add link p m1 type macvlan dhcp on dhcp_hostname a_b", "expected letters"),
        ("add link p m1 type macvlan host_address 192.0.2.1", "host_address is for a link that"),
        ("add link p m1 type macvlan host ::1 host_address ::2,::3", "one address of each family"),
        ("add link p m1 type macvlan host web", "argument of \"host\" must be"),
        ("add link p m1 type macvlan host_address 192.0.2.0/24", "\"host_address\" must be"),
        ("set m1 type macvlan dhcp on", "does not begin or end to use DHCP"),
    ] {
        let error = parsed(line).expect_err(line).to_string();
        let whole =
            error.contains(words) || words.starts_with("must be") && error.contains("must be");
        assert!(whole, "{line}: {error}");
    }
}

#[test]
fn dev_name_or_nothing_stands_before_the_name() {
    for line in ["mac1 link e", "dev mac1 link e", "link e name mac1", "link x link e mac1"] {
        let (name, spec) = added(&format!("add {line} type macvlan"));
        assert_eq!((name.as_deref(), spec.parent.as_str()), (Some("mac1"), "e"), "{line}");
    }
    assert_eq!(added("add link e type macvlan").0, None);
    for line in ["up", "dev up", "name up"] {
        let line = format!("set m1 {line}");
        let parsed = parsed(&line);
        match line.as_str() {
            "set m1 dev up" => assert_eq!(parsed, Err(CommandError::garbage("up"))),
            "set m1 name up" => assert_eq!(changed(&line).1.name.as_deref(), Some("up")),
            _ => assert_eq!(changed(&line).1.up, Some(true)),
        }
    }
    assert_eq!(changed("set name m1 up").0, "m1");
}

#[test]
fn a_change_has_what_was_typed_and_nothing_else() {
    assert_eq!(changed("set mac1"), ("mac1".into(), LinkChange::default()));
    assert_eq!(changed("set dev mac1 name mac1").1, LinkChange::default());
    let wanted = LinkChange {
        netns: Some("17".into()),
        address: Some("02:00:00:00:00:aa".parse().unwrap()),
        mtu: Some(1400),
        txqueuelen: Some(u32::MAX),
        name: Some("eth0".into()),
        alias: Some(String::new()),
        promisc: Some(false),
        allmulticast: Some(true),
        up: Some(false),
        host: None,
        macvlan: Some(MacvlanChange {
            mode: Some(Mode::Passthru),
            flags: Some(only(MacvlanFlag::Nopromisc)),
            spoofchk: None,
            limits: None,
            rules: None,
            bcqueuelen: Some(8),
            bclim: None,
            macaddr: None,
            kind: None,
        }),
    };
    let mut line = words(
        "link s mac1 netns 17 address 02:00:00:00:00:aa mtu 1400 qlen -1 name eth0 alias % \
         promisc off allmulticast on up down type macvlan flag nopromisc mode passthru b 010",
    );
    line.iter_mut().filter(|word| *word == "%").for_each(String::clear);
    let Ok(Command::Link(LinkCommand::Set { change, .. })) = parse(&line) else { panic!() };
    assert_eq!(*change, wanted);
}

#[test]
fn a_misplaced_or_mistyped_word_has_a_hint() {
    let hint = |line: &str| parsed(line).expect_err(line).hint;
    for (line, meant) in [
        ("add link p x rate 1mbit type macvlan", "\"rate\" belongs behind \"type macvlan\""),
        ("set m0 type macvlan isolated on", "did you mean \"isolation\"?"),
        ("set m0 type macvlan limit 1mbit", "did you mean \"rate\"?"),
    ] {
        assert_eq!(hint(line).as_deref(), Some(meant), "{line}");
    }
    assert_eq!(hint("add link p x frob type macvlan"), None);
    assert_eq!(hint("set m0 type macvlan frobnicate"), None);
}

#[test]
fn flags_replace_each_other_and_null_is_none() {
    let flags =
        |line: &str| changed(&format!("set m0 type macvlan {line}")).1.macvlan.unwrap().flags;
    assert_eq!(flags("mode vepa"), None);
    assert_eq!(flags("flag null"), Some(MacvlanFlags::default()));
    assert_eq!(flags("nodst"), Some(only(MacvlanFlag::Nodst)));
    assert_eq!(flags("flag nodst flag null"), flags("nod"));
}

#[test]
fn limits_are_words_with_the_units_of_tc() {
    let change = |line: &str| {
        let change = changed(&format!("set m0 type macvlan {line}")).1.macvlan.unwrap();
        change.limits.unwrap().words().collect::<Vec<_>>()
    };
    assert_eq!(change("rate 100mbit"), [("rate", "100mbit".to_owned())]);
    let several = [("rx_rate", "1gbit".to_owned()), ("tx_pps", "none".to_owned())];
    assert_eq!(change("rx_rate 1000mbit mode vepa tx_pps none"), several);
    let spec = added("add link p0 m0 type macvlan rate 1mbit rx_rate 2mbit mode bridge").1;
    assert_eq!(spec.settings.limits.to_string(), "rx_rate 2mbit tx_rate 1mbit");
    let (error, _) = refused("set m0 type macvlan rate fast");
    assert!(error.contains("\"rate\" must be a rate up to 1tbit"), "{error}");
}

#[test]
fn rules_are_edited_like_the_list_of_stations() {
    let change = |line: &str| {
        let change = changed(&format!("set m0 type macvlan {line}")).1.macvlan.unwrap();
        let edits = change.rules.unwrap();
        let texts = edits.words().map(|(word, op, values)| {
            format!("{} {} {}", word.name(), op.name(), values.join(" "))
        });
        texts.collect::<Vec<_>>()
    };
    assert_eq!(change("isolation web mode bridge"), ["isolation set web"]);
    assert_eq!(
        change("allow_mac add 02:00:00:00:00:07 allow_ip del 192.0.2.7 allow_mac flush"),
        ["allow_mac add 02:00:00:00:00:07", "allow_ip del 192.0.2.7", "allow_mac set "]
    );
    let set = change("allow_ethertype set ipv4 arp 0x88b5 rate 1mbit isolation off");
    assert_eq!(set, ["allow_ethertype set ipv4 arp 0x88b5", "isolation set "]);
    let spec = added("add link p0 m0 type macvlan isolation on allow_ip add fd00::/64").1;
    assert_eq!(spec.settings.rules.to_string(), "allow_ip fd00::/64 isolation on");
    for (line, words) in [
        ("isolation a/b", "\"isolation\" must be on, off or the name"),
        ("allow_mac 02:00:00:00:00:07", "\"allow_mac\" must be \"add\", \"del\""),
        ("allow_mac add 33:33:00:00:00:01", "\"allow_mac\" must be a unicast MAC address"),
        ("allow_ip add", "Command line is not complete"),
    ] {
        let (error, _) = refused(&format!("set m0 type macvlan {line}"));
        assert!(error.contains(words), "{line}: {error}");
    }
}

#[test]
fn spoofchk_is_independent_of_the_flags_of_ip() {
    let change = |line: &str| {
        let macvlan = changed(&format!("set m0 type macvlan {line}")).1.macvlan.unwrap();
        (macvlan.flags, macvlan.spoofchk, macvlan.mode)
    };
    assert_eq!(change("spoofchk on"), (None, Some(true), None));
    assert_eq!(change("spoofchk off mode vepa"), (None, Some(false), Some(Mode::Vepa)));
    assert_eq!(change("spoof mode vepa"), (None, Some(true), Some(Mode::Vepa)));
    assert_eq!(change("nodst"), (Some(only(MacvlanFlag::Nodst)), None, None));
}

#[test]
fn a_source_list_is_added_to_taken_from_set_or_emptied() {
    let change = |line: &str| {
        changed(&format!("set m0 type macvlan macaddr {line}")).1.macvlan.unwrap().macaddr.unwrap()
    };
    let mac = |text: &str| text.parse().unwrap();
    let (one, two) = ("02:00:00:00:00:01", "02:00:00:00:00:02");
    for (line, op, addresses) in [
        (format!("add {one}"), MacaddrOp::Add, vec![mac(one)]),
        (format!("del {one}"), MacaddrOp::Del, vec![mac(one)]),
        (format!("set {one} {two}"), MacaddrOp::Set, vec![mac(one), mac(two)]),
        (format!("set {one} mode source"), MacaddrOp::Set, vec![mac(one)]),
        ("set".into(), MacaddrOp::Set, vec![]),
        ("flush".into(), MacaddrOp::Set, vec![]),
        // As for `ip`, the last one counts.
        (format!("add {one} macaddr add {two}"), MacaddrOp::Add, vec![mac(two)]),
    ] {
        assert_eq!(change(&line), MacaddrChange { op, addresses }, "{line}");
    }
}

#[test]
fn links_are_deleted_in_several_ways() {
    for line in ["del m1", "d dev m1", "delete name m1", "del m1 type macvlan", "del m1 type vlan"]
    {
        assert_eq!(parsed(line), Ok(LinkCommand::Delete { name: "m1".into() }), "{line}");
    }
    assert_eq!(refused("del m1 type macvlan x").0, "macvlan: unknown option \"x\"?");
}

#[test]
fn mistakes_have_the_messages_of_ip() {
    for (line, text, status) in [
        ("add", "Not enough information: \"type\" argument is required", 1),
        ("add x type", "Command line is not complete. Try option \"help\"", 255),
        ("add x type macvlan", "RTNETLINK answers: Invalid argument", 2),
        ("add link p x type nosuch", "Error: Unknown device type.", 2),
        (
            "add link p x type macvtap port serial",
            "Error: argument of \"port\" must be \"vhost-user\", \"stream\", \"dgram\", \"tap\" or \"dev NAME\", not \"serial\"",
            1,
        ),
        (
            "add link p x type macvlan port stream",
            "Error: argument of \"port\" must be \"tap\", \"veth\" or \"auto\", not \"stream\"",
            1,
        ),
        ("set m0 type macvlan port veth", "RTNETLINK answers: Operation not supported", 2),
        ("add link p x type macvlan user 7", "macvlan: unknown option \"user\"?", 1),
        (
            "add link p x type macvtap port stream user no-such-user",
            "Error: argument \"no-such-user\" is wrong: there is no user of that name",
            255,
        ),
        ("set m0 type macvtap port stream", "RTNETLINK answers: Operation not supported", 2),
        (
            "add link p x y type macvlan",
            "Error: either \"dev\" is duplicate, or \"y\" is a garbage.",
            255,
        ),
        (
            "add link p dev x name y type macvlan",
            "both \"name\" and \"dev\" cannot be used when creating devices.",
            255,
        ),
        (
            "add link p name x name y type macvlan",
            "Error: duplicate \"name\": \"y\" is the second value.",
            255,
        ),
        (
            "add link p x mtu 1 mtu 2 type macvlan",
            "Error: duplicate \"mtu\": \"2\" is the second value.",
            255,
        ),
        (
            "add link p x netns 1 netns 2 type macvlan",
            "Error: duplicate \"netns\": \"2\" is the second value.",
            255,
        ),
        (
            "add link p x txqlen 5 qlen 6 type macvlan",
            "Error: duplicate \"txqueuelen\": \"6\" is the second value.",
            255,
        ),
        (
            "add link p x mtu foo type macvlan",
            "Error: argument \"foo\" is wrong: Invalid \"mtu\" value",
            255,
        ),
        (
            "add link p x mtu 4294967295 type macvlan",
            "Error: argument \"4294967295\" is wrong: Invalid \"mtu\" value",
            255,
        ),
        ("add link p x address foo type macvlan", "RTNETLINK answers: Invalid argument", 2),
        ("add link p x address type macvlan", "\"type\" is invalid lladdr.", 1),
        (
            "add link p a/b type macvlan",
            "Error: argument \"a/b\" is wrong: \"dev\" not a valid ifname",
            255,
        ),
        (
            "add link p longer-than-15-b type macvlan",
            "Error: Attribute failed policy validation.",
            2,
        ),
        (
            "add link p x type macvlan mode bridge macaddr flush",
            "RTNETLINK answers: Invalid argument",
            2,
        ),
        ("set", "Not enough information: \"dev\" argument is required.", 255),
        ("set type macvlan mode foo", "Not enough information: \"dev\" argument is required.", 255),
        ("set m0 address foo", "Invalid address length 1 - must be 6 bytes", 1),
        (
            "set m0 promisc maybe",
            "Error: argument of \"promisc\" must be \"on\" or \"off\", not \"maybe\"",
            1,
        ),
        ("set m0 frob", "Error: either \"dev\" is duplicate, or \"frob\" is a garbage.", 255),
        ("set m0 vf 0 mac 1", "RTNETLINK answers: Operation not supported", 2),
        ("set m0 type ipvlan mode vepa", "RTNETLINK answers: Operation not supported", 2),
        (
            "set m0 type macvlan mode foo",
            "Error: argument of \"mode\" must be \"private\", \"vepa\", \"bridge\", \"passthru\" or \"source\", not \"foo\"",
            1,
        ),
        ("set m0 type macvlan mode", "Command line is not complete. Try option \"help\"", 255),
        (
            "set m0 type macvlan flag foo",
            "Error: argument of \"flag\" must be \"nopromisc\", \"nodst\" or \"null\", not \"foo\"",
            1,
        ),
        ("set m0 type macvlan nopromisc", "macvlan: nopromisc flag only valid in passthru mode", 1),
        (
            "set m0 type macvlan bcqueuelen -1",
            "Error: argument of \"bcqueuelen\" must be a positive integer [0-4294967295], not \"-1\"",
            1,
        ),
        ("set m0 type macvlan up", "macvlan: unknown option \"up\"?", 1),
        ("set m0 type macvlan macaddr set zz", "\"zz\" is invalid lladdr.", 1),
        ("set m0 type macvlan macaddr add 02", "", 1),
    ] {
        assert_eq!(refused(line), (text.to_owned(), status), "{line}");
    }
}

#[test]
fn some_errors_are_reported_after_device_lookups() {
    let after = |line: &str| parsed(line).expect_err(line).after;
    let (link, parent) = (Device::Link("m0".into()), Device::Parent("p".into()));
    for line in [
        "set m0 type macvlan mode foo",
        "set m0 address foo",
        "set m0 vf 0",
        "del m0 type macvlan x",
    ] {
        assert_eq!(after(line), std::slice::from_ref(&link), "{line}");
    }
    for line in ["add link p x", "add link p x type macvlan mode foo", "add link p x type nosuch"] {
        assert_eq!(after(line), std::slice::from_ref(&parent), "{line}");
    }
    for line in ["set m0 mtu foo", "set m0 frob", "add link p x mtu foo", "set vf 0"] {
        assert_eq!(after(line), [], "{line}");
    }
}

#[test]
fn a_negative_mtu_becomes_zero() {
    assert_eq!(changed("set m0 mtu -1").1.mtu, Some(0));
}
