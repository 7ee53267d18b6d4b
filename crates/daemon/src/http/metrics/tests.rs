//! The text is read back by a strict parser of OpenMetrics.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use umacvlan_api::{NeighbourView, SubCounters, WireCounters, WorkerCounters};

/// Values by name and sorted labels.
type Samples = BTreeMap<(String, Vec<(String, String)>), f64>;

/// Parses OpenMetrics text and checks its rules: families in one piece with type and help before
/// them, names and suffixes of the type, unique samples, and the end.
fn read(text: &str) -> Samples {
    let body = text.strip_suffix("# EOF\n").expect("no end");
    let mut samples = Samples::new();
    let mut seen = BTreeSet::new();
    let mut family = (String::new(), String::new());
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (what, name, value) =
                (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            if family.0 != name {
                assert!(seen.insert(name.to_owned()), "{name} comes twice");
                family = (name.to_owned(), String::new());
            }
            match what {
                "TYPE" => value.clone_into(&mut family.1),
                "UNIT" => assert!(name.ends_with(&format!("_{value}")), "{line}"),
                "HELP" => assert!(value.ends_with('.') && !value.ends_with(".."), "{line}"),
                other => panic!("{other}: {line}"),
            }
            continue;
        }
        let (name, rest) = line.split_at(line.find(['{', ' ']).expect(line));
        let (labels, value) = labels(rest);
        let suffix = match family.1.as_str() {
            "counter" => "_total",
            "info" => "_info",
            "gauge" => "",
            other => panic!("{other}: {line}"),
        };
        assert_eq!(name, format!("{}{suffix}", family.0));
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        let value = value.strip_prefix(' ').expect(line).parse().expect(line);
        assert!(samples.insert((name.to_owned(), labels), value).is_none(), "twice: {line}");
    }
    samples
}

/// Parses labels, without escapes, and returns the rest.
fn labels(text: &str) -> (Vec<(String, String)>, &str) {
    let Some(mut rest) = text.strip_prefix('{') else {
        return (Vec::new(), text);
    };
    let mut labels = Vec::new();
    loop {
        let (name, quoted) = rest.split_once("=\"").expect(text);
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next().expect(text) {
                (at, '"') => break at,
                (_, '\\') => match chars.next().expect(text).1 {
                    'n' => value.push('\n'),
                    escaped @ ('"' | '\\') => value.push(escaped),
                    other => panic!("\\{other} in {text}"),
                },
                (_, plain) => value.push(plain),
            }
        };
        labels.push((name.to_owned(), value));
        rest = &quoted[end + 1..];
        match rest.split_at(1) {
            (",", more) => rest = more,
            ("}", more) => return (labels, more),
            _ => panic!("{text}"),
        }
    }
}

pub(super) fn link(name: &str, netns: Option<&str>) -> LinkView {
    let mut link = LinkView { ifname: name.to_owned(), ..LinkView::default() };
    link.umacvlan.parent = "eth0".to_owned();
    link.umacvlan.netns = netns.map(str::to_owned);
    link.umacvlan.queue_drops = 3;
    link.umacvlan.counters = SubCounters {
        delivered: Amount { frames: 10, bytes: 1000 },
        received: Amount { frames: 20, bytes: u64::MAX },
        lost: [("full".to_owned(), 4)].into(),
        dropped: [("too_long".to_owned(), 5), ("later".to_owned(), 6)].into(),
        ..SubCounters::default()
    };
    link
}

pub(super) fn parent(name: &str) -> ParentView {
    ParentView {
        name: name.to_owned(),
        present: true,
        carrier: true,
        links: 2,
        neighbours: vec![NeighbourView::default()],
        wire: WireCounters {
            received: Amount { frames: 7, bytes: 700 },
            unsent: [("full".to_owned(), 8)].into(),
            ring_drops: 9,
            host: 11,
            ..WireCounters::default()
        },
        worker: WorkerCounters {
            busy: 0.5,
            asleep: 1e9,
            sleeps: 12,
            syscalls: 34,
            ..WorkerCounters::default()
        },
        ..ParentView::default()
    }
}

fn scrape(links: Vec<LinkView>, parents: Vec<ParentView>) -> Samples {
    read(&text(links, parents, LinkSeries::All))
}

pub(super) fn text(links: Vec<LinkView>, parents: Vec<ParentView>, series: LinkSeries) -> String {
    let uptime = Duration::from_millis(1500);
    render(Scrape { links, parents, series, uptime, version: "1.2.3" })
}

fn value(samples: &Samples, name: &str, labels: &[(&str, &str)]) -> f64 {
    let labels = labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    let key = (format!("umacvlan_{name}"), labels);
    *samples.get(&key).unwrap_or_else(|| panic!("{key:?} is not in {samples:#?}"))
}

#[test]
fn every_counter_has_its_name_and_labels() {
    let samples = scrape(vec![link("mac1", Some("blue"))], vec![parent("eth0")]);
    let mac1 = [("link", "mac1"), ("netns", "blue"), ("parent", "eth0")];
    let of_link = |name, more: &[_]| value(&samples, name, &[&mac1[..], more].concat());
    let (rx, tx) = (("direction", "rx"), ("direction", "tx"));
    assert_eq!(of_link("link_frames_total", &[rx]), 10.0);
    assert_eq!(of_link("link_bytes_total", &[rx]), 1000.0);
    assert_eq!(of_link("link_bytes_total", &[tx]), u64::MAX as f64);
    assert_eq!(of_link("link_drops_total", &[rx, ("reason", "full")]), 4.0);
    assert_eq!(of_link("link_drops_total", &[tx, ("reason", "later")]), 6.0);
    assert_eq!(of_link("link_queue_drops_total", &[]), 3.0);

    let of_parent =
        |name, more: &[_]| value(&samples, name, &[&[("parent", "eth0")], more].concat());
    assert_eq!(of_parent("parent_carrier", &[]), 1.0);
    assert_eq!(of_parent("parent_links", &[]), 2.0);
    assert_eq!(of_parent("parent_neighbours", &[]), 1.0);
    assert_eq!(of_parent("parent_frames_total", &[rx]), 7.0);
    assert_eq!(of_parent("parent_drops_total", &[tx, ("reason", "full")]), 8.0);
    assert_eq!(of_parent("parent_ring_drops_total", &[]), 9.0);
    assert_eq!(of_parent("parent_host_frames_total", &[]), 11.0);
    assert_eq!(of_parent("worker_seconds_total", &[("state", "busy")]), 0.5);
    assert_eq!(of_parent("worker_seconds_total", &[("state", "asleep")]), 1e9);
    assert_eq!(of_parent("worker_sleeps_total", &[]), 12.0);
    assert_eq!(of_parent("worker_syscalls_total", &[]), 34.0);

    assert_eq!(value(&samples, "build_info", &[("version", "1.2.3")]), 1.0);
    assert_eq!(value(&samples, "daemon_uptime_seconds", &[]), 1.5);
    assert_eq!(value(&samples, "links", &[]), 1.0);
    assert_eq!(value(&samples, "parents", &[]), 1.0);
}

#[test]
fn special_characters_in_names_are_escaped() {
    // The kernel accepts all of these as interface names.
    for name in ["a\"b", "a\\", "\\n\"}", "{x=\"1\"}", "ä,b", "%41#?&"] {
        let samples = scrape(vec![link(name, Some("n\"s\\"))], vec![]);
        let labels = [("link", name), ("netns", "n\"s\\"), ("parent", "eth0")];
        assert_eq!(value(&samples, "link_queue_drops_total", &labels), 3.0);
    }
}

#[test]
fn links_of_the_same_name_in_two_namespaces_are_distinct() {
    let samples = scrape(vec![link("eth0", Some("a")), link("eth0", None)], vec![]);
    let labels = |netns| [("link", "eth0"), ("netns", netns), ("parent", "eth0")];
    assert_eq!(value(&samples, "link_queue_drops_total", &labels("a")), 3.0);
    assert_eq!(value(&samples, "link_queue_drops_total", &labels("")), 3.0);
}

#[test]
fn an_empty_scrape_is_valid() {
    let samples = scrape(vec![], vec![]);
    assert_eq!(value(&samples, "links", &[]), 0.0);
}

#[test]
fn every_series_exists_before_anything_is_counted() {
    let link = LinkView { ifname: "mac1".to_owned(), ..LinkView::default() };
    let parent = ParentView { name: "eth0".to_owned(), ..ParentView::default() };
    let before = scrape(vec![link], vec![parent]);
    for reason in DropReason::ALL.map(DropReason::name) {
        for way in ["rx", "tx"] {
            let more = [("direction", way), ("reason", reason)];
            let of_parent = [&[("parent", "eth0")], &more[..]].concat();
            assert_eq!(value(&before, "parent_drops_total", &of_parent), 0.0);
            let mac1 = [("link", "mac1"), ("netns", ""), ("parent", "")];
            let of_link = [&mac1[..], &more].concat();
            assert_eq!(value(&before, "link_drops_total", &of_link), 0.0);
        }
    }
    for phase in Phase::ALL {
        assert_eq!(value(&before, "dhcp_links", &[("state", phase.name())]), 0.0);
    }
}

#[test]
fn only_the_busiest_links_have_series_where_that_is_requested() {
    let names = ["a", "b", "c"];
    let links = || {
        let mut links: Vec<_> = names.iter().map(|name| link(name, None)).collect();
        links[1].umacvlan.counters.received.bytes = 1;
        links[2].umacvlan.counters.received.bytes = 2;
        links[0].umacvlan.counters.received.bytes = 3;
        links
    };
    for (series, wanted) in
        [("all", "a b c"), ("none", ""), ("0", ""), ("2", "a c"), ("1000", "a b c")]
    {
        let samples = read(&text(links(), vec![parent("eth0")], series.parse().unwrap()));
        let shown: BTreeSet<&str> = samples
            .keys()
            .flat_map(|(_, labels)| labels)
            .filter_map(|(name, value)| (name == "link").then_some(value.as_str()))
            .collect();
        let wanted: BTreeSet<&str> = wanted.split_whitespace().collect();
        assert_eq!(shown, wanted, "{series}");
        let left_out = (names.len() - wanted.len()) as f64;
        assert_eq!(value(&samples, "links_left_out", &[]), left_out);
        assert_eq!(value(&samples, "links", &[]), 3.0, "all are counted");
    }
    for wrong in ["", "-1", "top", "1.5", "99999999999999999999"] {
        assert!(wrong.parse::<LinkSeries>().is_err(), "{wrong}");
    }
}
