//! Output equal to that of `ip` 6.1 for a kernel macvlan, byte for byte.

use super::{LinkJson, Scene, Style, link};
use crate::ip::time;
use umacvlan_api::{InfoData, LastEvent, LinkInfo, LinkView, Reasons, UmacvlanInfo};

fn view() -> LinkView {
    let text = str::to_owned;
    LinkView {
        ifindex: 4,
        link: Some(text("p0")),
        ifname: text("m1"),
        flags: ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"].map(text).into(),
        mtu: 1500,
        qdisc: Some(text("noqueue")),
        operstate: text("UP"),
        linkmode: text("DEFAULT"),
        group: text("default"),
        txqlen: 1000,
        link_type: text("ether"),
        address: Some(text("02:00:00:00:00:01")),
        broadcast: Some(text("ff:ff:ff:ff:ff:ff")),
        allmulti: Some(0),
        min_mtu: 68,
        max_mtu: 65535,
        linkinfo: LinkInfo {
            info_kind: text("macvlan"),
            info_data: InfoData {
                mode: text("bridge"),
                bcqueuelen: 1000,
                usedbcqueuelen: 1000,
                ..InfoData::default()
            },
        },
        inet6_addr_gen_mode: Some(text("eui64")),
        num_tx_queues: Some(1),
        num_rx_queues: Some(1),
        gso_max_size: Some(65536),
        gso_max_segs: Some(65535),
        tso_max_size: Some(524_280),
        tso_max_segs: Some(65535),
        gro_max_size: Some(65536),
        umacvlan: UmacvlanInfo {
            id: 7,
            parent: text("p0"),
            link_index: 3,
            backend: text("af-packet"),
            io: text("uring"),
            cpu: Some(1),
            poll: text("adaptive"),
            ..UmacvlanInfo::default()
        },
        ..LinkView::default()
    }
}

fn moved() -> LinkView {
    let mut view = view();
    view.umacvlan.link_netnsid = Some(0);
    view.umacvlan.netns = Some("red".into());
    view
}

fn shown(view: &LinkView, style: Style) -> String {
    link(view, style, Scene::Show)
}

fn json(view: &LinkView, style: Style) -> String {
    style.json(&[LinkJson::new(view, style)]).unwrap()
}

const PLAIN: &str = "\
4: m1@p0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP mode DEFAULT group default qlen 1000
    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff
";

#[test]
fn a_link_is_two_lines_or_one() {
    let style = Style::default();
    assert_eq!(shown(&view(), style), PLAIN);
    let oneline = Style { oneline: true, ..style };
    assert_eq!(shown(&view(), oneline), format!("{}\n", PLAIN.trim_end().replace('\n', "\\")));
    let brief =
        "m1@p0            UP             02:00:00:00:00:01 <BROADCAST,MULTICAST,UP,LOWER_UP> \n";
    assert_eq!(shown(&view(), Style { brief: true, oneline: true, ..style }), brief);
    let long = LinkView { ifname: "averylongname15".into(), ..view() };
    let start = "averylongname15@p0 UP             02:";
    assert!(shown(&long, Style { brief: true, ..style }).starts_with(start));
}

#[test]
fn details_have_a_line_of_the_kind_and_one_of_umacvlan() {
    let mut view = view();
    view.linkinfo.info_data = InfoData {
        mode: "source".into(),
        nodst: Some(true),
        bcqueuelen: 7,
        usedbcqueuelen: 1000,
        bclim: Some(-1),
        macaddr_count: Some(1),
        macaddr_data: Some(vec!["02:00:00:00:00:79".into()]),
        ..InfoData::default()
    };
    view.ifalias = Some("hello world".into());
    view.umacvlan.config = Some("mac1".into());
    let text = shown(&view, Style { details: true, ..Style::default() });
    let wanted = PLAIN.trim_end().to_owned()
        + " promiscuity 0  allmulti 0 minmtu 68 maxmtu 65535 \n    macvlan mode source nodst \
           bcqueuelen 7 usedbcqueuelen 1000 bclim -1 remotes (1) 02:00:00:00:00:79 addrgenmode \
           eui64 numtxqueues 1 numrxqueues 1 gso_max_size 65536 gso_max_segs 65535 tso_max_size \
           524280 tso_max_segs 65535 gro_max_size 65536 \n    alias hello world\n    umacvlan id 7 \
           backend af-packet io uring cpu 1 poll adaptive config mac1\n";
    assert_eq!(text, wanted);
}

#[test]
fn columns_of_counters_grow_with_the_numbers() {
    let mut view = view();
    view.stats64.tx.bytes = 17_455_920;
    view.stats64.tx.packets = 12_346;
    let style = Style { statistics: 2, ..Style::default() };
    let text = shown(&view, style);
    let wanted = "    RX:  bytes packets errors dropped  missed   mcast           
             0       0      0       0       0       0 
    RX errors:  length    crc   frame    fifo overrun
                     0      0       0       0       0 
    TX:  bytes packets errors dropped carrier collsns           
      17455920   12346      0       0       0       0 
    TX errors: aborted   fifo  window heartbt transns
                     0      0       0       0       0 
";
    let own = text.strip_prefix(&format!("{PLAIN}{wanted}")).expect(&text);
    assert!(own.lines().all(|line| line.starts_with("    umacvlan ")), "{own}");

    view.stats64.tx.bytes = 24_660_000_000;
    view.stats64.tx.packets = 11_400_000;
    let wanted = "    RX:   bytes  packets errors dropped  missed   mcast           
              0        0      0       0       0       0 
    RX errors:    length    crc   frame    fifo overrun
                       0      0       0       0       0 
    TX:   bytes  packets errors dropped carrier collsns           
    24660000000 11400000      0       0       0       0 
    TX errors:   aborted   fifo  window heartbt transns
                       0      0       0       0       0 
";
    let text = shown(&view, style);
    assert!(text.starts_with(&format!("{PLAIN}{wanted}")), "{text}");
}

#[test]
fn drops_are_shown_with_their_reason() {
    let mut view = view();
    view.umacvlan.counters.lost = Reasons::from([("full".to_owned(), 3)]);
    view.umacvlan.counters.dropped = Reasons::from([("runt".to_owned(), 1)]);
    view.umacvlan.queue_drops = 4;
    let text = shown(&view, Style { statistics: 1, ..Style::default() });
    let wanted = "    umacvlan rx dropped full 3
    umacvlan tx dropped runt 1
    umacvlan tx dropped queue_full 4
";
    assert!(text.ends_with(wanted), "{text}");
}

#[test]
fn the_third_s_says_what_the_reasons_mean() {
    let style = Style { statistics: 3, ..Style::default() };
    assert!(shown(&view(), style).contains("    umacvlan dropped nothing"));
    let mut view = view();
    view.umacvlan.counters.lost = Reasons::from([("full".to_owned(), 7)]);
    view.umacvlan.queue_drops = 2;
    let text = shown(&view, style);
    let line = "    umacvlan rx dropped full 7: the queue of the link or of the parent was full";
    assert!(text.contains(line) && text.contains("tx dropped queue_full 2: "), "{text}");
}

#[test]
fn the_last_events_come_with_details_and_the_third_s() {
    let event = |time, kind: &str, what: &str| LastEvent {
        time,
        event: kind.into(),
        what: what.into(),
        ..LastEvent::default()
    };
    let (first, second, third) = (1_795_260_189.5, 1_795_260_190.5, 1_795_260_199.5);
    let mut view = view();
    view.umacvlan.last_events = vec![
        event(first, "created", "parent p0"),
        LastEvent {
            count: Some(3),
            last_time: Some(third),
            ..event(second, "mtu", "from 1500 to \u{1b}1400")
        },
    ];
    let style = Style { details: true, statistics: 3, ..Style::default() };
    let text = shown(&view, style);
    let [first, second, third] = [first, second, third].map(time::short);
    let wanted = format!(
        "\n    umacvlan event {first} created parent p0\n    umacvlan event {second} mtu     from 1500 \
         to \\u{{1b}}1400 (3 times, last {third})\n"
    );
    assert!(text.ends_with(&wanted), "{text}");
    let events = r#""last_events":[{"time":1795260189.5,"event":"created","what":"parent p0"},{"time":1795260190.5,"event":"mtu","what":"from 1500 to \u001b1400","count":3,"last_time":1795260199.5}]"#;
    let all = json(&view, style);
    assert!(all.contains(events), "{all}");
    for fewer in [Style { details: false, ..style }, Style { statistics: 2, ..style }] {
        assert!(!shown(&view, fewer).contains(" event "));
        assert!(!json(&view, fewer).contains("last_events"));
    }
    view.umacvlan.last_events.clear();
    assert!(!json(&view, style).contains("last_events"), "nothing of a daemon that has none");
}

#[test]
fn where_the_host_reaches_a_link_is_shown() {
    let mut view = view();
    view.umacvlan.host = vec!["192.0.2.7".to_owned(), "2001:db8::/64".to_owned()];
    let style = Style { details: true, ..Style::default() };
    let line = "\n    umacvlan host 192.0.2.7,2001:db8::/64";
    assert!(shown(&view, style).contains(&format!("{line}\n")), "{}", shown(&view, style));
    view.umacvlan.host_address = vec!["192.0.2.1".to_owned()];
    assert!(shown(&view, style).contains(&format!("{line} host_address 192.0.2.1")));
}

#[test]
fn queues_that_others_have_attached_are_shown() {
    let mut view = view();
    let style = Style { details: true, ..Style::default() };
    assert!(!shown(&view, style).contains("of others") && !json(&view, style).contains("extra"));
    view.umacvlan.extra_queues = Some(2);
    assert!(shown(&view, style).contains("\n    umacvlan queues of others 2\n"));
    assert!(json(&view, style).contains(r#""extra_queues":2"#));
}

#[test]
fn a_link_in_another_namespace_shows_it() {
    let text = shown(&moved(), Style::default());
    assert!(text.starts_with("4: m1@p0: "), "{text}");
    assert!(text.ends_with(" brd ff:ff:ff:ff:ff:ff netns red\n"), "{text}");
    let brief = Style { brief: true, ..Style::default() };
    let text = shown(&moved(), brief);
    assert!(text.ends_with(" <BROADCAST,MULTICAST,UP,LOWER_UP> netns red \n"), "{text}");
    assert!(!shown(&moved(), Style { inside: true, ..brief }).contains("netns"));
    assert!(json(&moved(), brief).contains(r#""netns":"red""#));
    let inside = Style { inside: true, ..Style::default() };
    let text = shown(&moved(), inside);
    assert!(text.starts_with("4: m1@if3: "), "{text}");
    assert!(text.ends_with(" brd ff:ff:ff:ff:ff:ff link-netnsid 0\n"), "{text}");
    assert!(json(&moved(), inside).contains(r#""link_index":3,"ifname":"m1""#));
    assert!(json(&moved(), inside).contains(r#""link_netnsid":0"#));
    assert!(json(&moved(), Style::default()).contains(r#""netns":"red""#));
}

#[test]
fn colours_are_those_of_ip() {
    let style = Style { colour: true, ..Style::default() };
    let text = shown(&view(), style);
    assert!(text.starts_with("4: \x1b[36mm1@p0: \x1b[0m<BROADCAST"), "{text:?}");
    assert!(text.contains(" state \x1b[32mUP \x1b[0mmode DEFAULT"), "{text:?}");
    let addresses =
        "    link/ether \x1b[33m02:00:00:00:00:01\x1b[0m brd \x1b[33mff:ff:ff:ff:ff:ff\x1b[0m\n";
    assert!(text.ends_with(addresses), "{text:?}");
    let brief = shown(&view(), Style { brief: true, ..style });
    assert!(brief.starts_with("\x1b[36mm1@p0            \x1b[0m\x1b[32mUP             \x1b[0m"));
}

#[test]
fn control_characters_are_escaped() {
    let mut view = view();
    view.ifname = "m1\u{1b}[2J".into();
    view.link = Some("p0\u{9b}m".into());
    view.ifalias = Some("a\n9: lo: <UP>\u{7} \u{e9}".into());
    let text = shown(&view, Style::default());
    assert!(text.starts_with("4: m1\\u{1b}[2J@p0\\u{9b}m: <"), "{text:?}");
    assert!(text.ends_with("    alias a\\n9: lo: <UP>\\u{7} \u{e9}\n"), "{text:?}");
}

#[test]
fn an_event_has_fewer_fields() {
    let text =
        link(&view(), Style { details: true, statistics: 1, ..Style::default() }, Scene::Event);
    let first = "4: m1@p0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP group default \n";
    assert!(text.starts_with(first), "{text}");
    assert!(!text.contains("addrgenmode") && !text.contains("RX:"), "{text}");
}

#[test]
fn json_has_the_fields_of_ip_in_the_order_of_ip() {
    let base = r#""ifindex":4,"link":"p0","ifname":"m1","flags":["BROADCAST","MULTICAST","UP","LOWER_UP"],"mtu":1500,"qdisc":"noqueue","operstate":"UP","linkmode":"DEFAULT","group":"default","txqlen":1000,"link_type":"ether","address":"02:00:00:00:00:01","broadcast":"ff:ff:ff:ff:ff:ff""#;
    let style = Style::default();
    assert_eq!(json(&view(), style), format!("[{{{base}}}]\n"));
    let brief = r#"[{"link":"p0","ifname":"m1","operstate":"UP","address":"02:00:00:00:00:01","flags":["BROADCAST","MULTICAST","UP","LOWER_UP"]}]"#;
    assert_eq!(json(&view(), Style { brief: true, ..style }), format!("{brief}\n"));
    let stats = r#""stats64":{"rx":{"bytes":0,"packets":0,"errors":0,"dropped":0,"over_errors":0,"multicast":0},"tx":{"bytes":0,"packets":0,"errors":0,"dropped":0,"carrier_errors":0,"collisions":0}}"#;
    assert_eq!(json(&view(), Style { statistics: 1, ..style }), format!("[{{{base},{stats}}}]\n"));
    let details = r#""promiscuity":0,"allmulti":0,"min_mtu":68,"max_mtu":65535,"linkinfo":{"info_kind":"macvlan","info_data":{"mode":"bridge","bcqueuelen":1000,"usedbcqueuelen":1000}},"inet6_addr_gen_mode":"eui64","num_tx_queues":1,"num_rx_queues":1,"gso_max_size":65536,"gso_max_segs":65535,"tso_max_size":524280,"tso_max_segs":65535,"gro_max_size":65536,"umacvlan":{"id":7,"parent":"p0","backend":"af-packet""#;
    let text = json(&view(), Style { details: true, ..style });
    assert!(text.starts_with(&format!("[{{{base},{details}")), "{text}");
    let all = json(&view(), Style { statistics: 2, ..style });
    for field in ["\"missed_errors\":0}", "\"carrier_changes\":0}", "\"heartbeat_errors\":0"] {
        assert!(all.contains(field), "{all}");
    }
    let numeric = json(&view(), Style { numeric: true, ..style });
    assert!(numeric.contains(r#""group":"0""#) && numeric.contains(r#""link_type":"[1]""#));
    let nothing: [LinkJson<'_>; 0] = [];
    assert_eq!(style.json(&nothing).unwrap(), "[]\n");
}
