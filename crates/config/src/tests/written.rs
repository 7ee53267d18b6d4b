//! Written files, and that they are read back as the same configuration.

use proptest::prelude::*;

use super::super::*;
use super::{CPUS, arbitrary, config};
use umacvlan_api::{InfoData, LinkInfo, LinkView, ParentView, UmacvlanInfo};
use umacvlan_core::limit::{LimitKind, Limits};
use umacvlan_core::rules::{RuleWord, Rules};

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(config in arbitrary::config()) {
        let text = config.to_toml();
        let again = Config::parse("f", &text, CPUS);
        let again = again.map_err(|wrong| TestCaseError::fail(format!("{wrong}\n{text}")))?;
        prop_assert!(again.warnings.len() == 0);
        prop_assert_eq!(again.config.to_toml(), text);
        prop_assert_eq!(again.config, config);
    }
}

#[test]
fn a_file_is_written_without_what_is_the_default() {
    let text = "[daemon]\non_exit = 'keep'\n[engine]\ncpus = [1, 2]\n[parent.p]\n\
                [link.b]\nup = true\nmode = 'vepa'\nparent = 'p'\n[link.\"a'\\\"b\"]\n\
                netns = 7\nparent = 'p'\nup = false\nname = 'eth0'\nbclim = 1\n";
    let expected = "[engine]\ncpus = [1, 2]\n\n[parent.p]\n\n\
                    [link.\"a'\\\"b\"]\nparent = \"p\"\nname = \"eth0\"\nnetns = \"7\"\nbclim = 1\n\
                    up = false\n\n[link.b]\nparent = \"p\"\n";
    assert_eq!(config(text).to_toml(), expected);
}

#[test]
fn nothing_is_an_empty_file() {
    assert_eq!(Config::default().to_toml(), "");
}

fn view(ifname: &str, key: Option<&str>, netns: Option<&str>) -> LinkView {
    LinkView {
        ifname: ifname.to_owned(),
        flags: ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"].map(str::to_owned).into(),
        mtu: 1500,
        txqlen: 4096,
        address: Some("02:00:00:00:00:01".to_owned()),
        linkinfo: LinkInfo {
            info_kind: "macvlan".to_owned(),
            info_data: InfoData {
                mode: "bridge".to_owned(),
                bcqueuelen: 1000,
                ..InfoData::default()
            },
        },
        umacvlan: UmacvlanInfo {
            parent: "p".to_owned(),
            config: key.map(str::to_owned),
            netns: netns.map(str::to_owned),
            ..UmacvlanInfo::default()
        },
        ..LinkView::default()
    }
}

fn parent() -> ParentView {
    ParentView { name: "p".to_owned(), mtu: 1500, ..ParentView::default() }
}

/// The file for these links after `applied` was applied.
fn saved(applied: &str, links: &[LinkView]) -> String {
    running_config(&config(applied), links, &[parent()]).to_toml()
}

#[test]
fn what_runs_is_written_with_its_address_and_without_defaults() {
    let expected =
        "[link.mac1]\nparent = \"p\"\nmode = \"bridge\"\naddress = \"02:00:00:00:00:01\"\n";
    assert_eq!(saved("", &[view("mac1", None, None)]), expected);
}

#[test]
fn everything_that_differs_from_the_defaults_is_written() {
    let mut rules = Rules::default();
    rules.add(RuleWord::Isolation, "web").unwrap();
    rules.add(RuleWord::AllowIp, "10.0.0.1").unwrap();
    let mut link = view("mac1", None, Some("blue"));
    link.flags = vec!["PROMISC".to_owned(), "ALLMULTI".to_owned()];
    (link.mtu, link.txqlen, link.ifalias) = (1400, 7, Some("x".to_owned()));
    link.linkinfo.info_data = InfoData {
        mode: "source".to_owned(),
        nodst: Some(true),
        bcqueuelen: 8,
        bclim: Some(-1),
        limits: Some(Limits::default().with(LimitKind::TxRate, 1_000_000).into()),
        rules: Some(rules.into()),
        macaddr_count: Some(2),
        macaddr_data: Some(vec!["02:00:00:00:00:09".to_owned(), "02:00:00:00:00:08".to_owned()]),
        ..InfoData::default()
    };
    let expected = "[link.mac1]\nparent = \"p\"\nmode = \"source\"\nnodst = true\n\
                    tx_rate = \"1mbit\"\nallow_ip = [\"10.0.0.1\"]\nisolation = \"web\"\naddress = \"02:00:00:00:00:01\"\n\
                    macaddr = [\"02:00:00:00:00:08\", \"02:00:00:00:00:09\"]\n\
                    netns = \"blue\"\nmtu = 1400\ntxqueuelen = 7\nbcqueuelen = 8\nbclim = -1\n\
                    promisc = true\nallmulticast = true\nalias = \"x\"\nup = false\n";
    assert_eq!(saved("", &[link]), expected);
}

#[test]
fn a_passthru_link_is_written_without_its_parents_address() {
    let mut link = view("mac1", None, None);
    link.linkinfo.info_data.mode = "passthru".to_owned();
    link.linkinfo.info_data.nopromisc = Some(true);
    let expected = "[link.mac1]\nparent = \"p\"\nmode = \"passthru\"\nnopromisc = true\n";
    assert_eq!(saved("", &[link]), expected);
}

#[test]
fn an_entry_keeps_its_name_and_what_it_says_expressly() {
    let applied = "[engine]\npoll = 'busy'\n[parent.p]\n[link.web]\nparent = 'p'\nmtu = 1500\n\
                   [link.gone]\nparent = 'p'\n";
    let expected = "[engine]\npoll = \"busy\"\n\n[parent.p]\n\n[link.web]\nparent = \"p\"\n\
                    name = \"eth0\"\nmode = \"bridge\"\naddress = \"02:00:00:00:00:01\"\n\
                    netns = \"blue\"\nmtu = 1500\n";
    assert_eq!(saved(applied, &[view("eth0", Some("web"), Some("blue"))]), expected);
}

#[test]
fn two_links_of_one_name_have_two_entries() {
    let mut links = [view("eth0", None, Some("blue")), view("eth0", None, Some("red"))];
    links[1].address = Some("02:00:00:00:00:02".to_owned());
    let text = saved("", &links);
    assert!(text.contains("[link.eth0]\n") && text.contains("[link.eth0-2]\n"), "{text}");
    assert_eq!(text.matches("name = \"eth0\"").count(), 1, "{text}");
    config(&text);
}

#[test]
fn a_namespace_without_a_name_is_where_the_file_says_or_the_link_is_left_out() {
    let applied = "[link.kept]\nparent = 'p'\nnetns = '/proc/7/ns/net'\n";
    let mut links = ["kept", "lost\nx"].map(|name| view(name, None, Some("net:[42]")));
    links[0].umacvlan.config = Some("kept".to_owned());
    let saved = running_config(&config(applied), &links, &[parent()]);
    let text = saved.to_toml();
    assert!(text.contains("netns = \"/proc/7/ns/net\"\n"), "{text}");
    let [line] = &saved.left_out[..] else { panic!("{:?}", saved.left_out) };
    assert!(line.starts_with("link lost\\nx is left out: its namespace net:[42] has no"), "{line}");
    assert!(text.ends_with(&format!("\n# {line}\n")), "{text}");
    assert_eq!(config(&text), saved.config);
}

#[test]
fn a_configuration_that_was_just_saved_has_no_steps() {
    let mut other = view("eth0", None, Some("blue"));
    other.address = Some("02:00:00:00:00:02".to_owned());
    other.umacvlan.config = Some("eth0".to_owned());
    let links = [view("mac1", Some("mac1"), None), other];
    let saved = running_config(&Config::default(), &links, &[parent()]).config;
    let running = Running::new(&links, &[parent()]);
    assert_eq!(plan(&Config::default(), &saved, &running), Plan::default());
}

#[test]
fn parents_take_their_cpus_in_turn() {
    let cpus = |text| config(text).parent("p");
    let engine = cpus("[engine]\ncpus = [2, 0]");
    assert_eq!(engine.choose_cpu(CPUS, &[]), Some(2));
    assert_eq!(engine.choose_cpu(CPUS, &[2]), Some(0));
    assert_eq!(engine.choose_cpu(CPUS, &[2, 0]), Some(2));
    assert_eq!(engine.choose_cpu(CPUS, &[0, 2, 2]), Some(0));
    // The parent's own table is preferred; CPUs that do not exist are ignored.
    let own = cpus("[engine]\ncpus = [2]\n[parent.p]\ncpus = [1, 9]");
    assert_eq!(own.choose_cpu(CPUS, &[1, 1]), Some(1));
    assert_eq!(cpus("[parent.p]\ncpus = [9]").choose_cpu(CPUS, &[]), Some(3));
    assert_eq!(cpus("").choose_cpu(CPUS, &[3]), Some(2));
    assert_eq!(cpus("").choose_cpu(&[], &[3]), None);
}

#[test]
fn each_worker_of_a_parent_has_a_cpu_of_the_list_in_order() {
    let text = "[engine]\nworkers = 2\ncpus = [2, 0, 3]\n[parent.q]\nworkers = 3\n[parent.r]\n";
    let config = config(text);
    assert_eq!(config.parent("p").choose_cpus(CPUS, vec![]), [Some(2), Some(0)]);
    assert_eq!(config.parent("r").choose_cpus(CPUS, vec![2, 0]), [Some(3), Some(2)]);
    assert_eq!(config.parent("q").choose_cpus(&[0], vec![]), [Some(0); 3]);
    assert_eq!(config.parent("p").choose_cpus(&[], vec![]), [None, None]);
    assert_eq!(Config::default().parent("p").choose_cpus(CPUS, vec![]), [Some(3)]);
}
