//! Switches from configurations, and the assumptions they need.

use umacvlan_core::{Action, Frame, MacAddr, Mode};

use super::{Assumptions, OfflineSwitch, from_config};
use umacvlan_config::Config;

fn config(text: &str) -> Config {
    Config::parse("test", text, &[]).unwrap().config
}

fn offline(text: &str) -> OfflineSwitch {
    from_config(&config(text), None, &Assumptions::default()).unwrap()
}

fn refused(text: &str, parent: Option<&str>) -> String {
    format!("{:#}", from_config(&config(text), parent, &Assumptions::default()).unwrap_err())
}

#[test]
fn links_have_the_settings_of_the_configuration() {
    let offline = offline(
        "[engine]\nsemantics = \"kernel\"\n[link.a]\nparent = \"p\"\nmode = \"source\"\n\
         macaddr = [\"02:00:00:00:00:09\"]\nnodst = true\nmtu = 9000\nup = false\n\
         [link.b]\nparent = \"p\"\nbclim = 7\nallmulticast = true\n",
    );
    let (_, name, a) = offline.subs().next().unwrap();
    assert_eq!((name, a.mode(), a.up(), a.mtu()), ("a", Mode::Source, false, 9000));
    assert!(a.nodst() && a.sources() == [MacAddr::new([2, 0, 0, 0, 0, 9])]);
    let (_, _, b) = offline.subs().nth(1).unwrap();
    assert!(b.up() && b.filter().allmulti && b.mtu() == 9000);
    assert_eq!((offline.switch.parent().mtu, offline.switch.bc_cutoff()), (9000, 7));
    assert_eq!(offline.switch.semantics().name(), "kernel");
}

#[test]
fn an_address_from_a_name_is_stable_and_noted() {
    let alone = offline("[link.b]\nparent = \"p\"\n");
    let both = offline("[link.a]\nparent = \"p\"\n[link.b]\nparent = \"p\"\n");
    let mac = |offline: &OfflineSwitch| {
        let id = offline.find("b").unwrap();
        offline.switch.sub(id).unwrap().mac()
    };
    assert_eq!(mac(&alone), mac(&both));
    assert!(mac(&alone).is_valid_unicast() && mac(&alone).is_locally_administered());
    let note = format!("b: address {} assumed, made from its name", mac(&alone));
    assert!(alone.notes.contains(&note), "{:?}", alone.notes);
    let taken = both.subs().find(|&(_, name, _)| name == "a").unwrap().2.mac();
    assert_ne!(taken, mac(&both));
}

#[test]
fn a_link_joins_the_groups_that_every_interface_joins() {
    let offline = offline("[link.a]\nparent = \"p\"\naddress = \"02:00:00:00:0a:0b\"\n");
    let hears = |group: [u8; 6]| {
        let bytes = [&group[..], &[2, 9, 9, 9, 9, 9], &[0x86, 0xdd]].concat();
        let verdict = offline.switch.ingress(Frame::new(&bytes).unwrap());
        matches!(verdict.action, Action::Flood(flood) if flood.clone().count() == 1)
    };
    assert!(hears([0x33, 0x33, 0, 0, 0, 1]) && hears([0x33, 0x33, 0xff, 0, 0x0a, 0x0b]));
    assert!(!hears([0x33, 0x33, 0xff, 0, 0x0a, 0x0c]));
}

#[test]
fn a_parent_is_chosen_by_name_where_there_are_several() {
    let two = "[link.a]\nparent = \"p\"\n[link.b]\nparent = \"q\"\n";
    assert!(refused(two, None).contains("choose one with --parent: p, q"));
    assert!(refused(two, Some("r")).contains("no parent r: it has p, q"));
    assert!(refused("", None).contains("no links"));
    let q = from_config(&config(two), Some("q"), &Assumptions::default()).unwrap();
    assert_eq!(q.name_list(), "b");
}

#[test]
fn a_shared_address_belongs_to_the_link_that_is_up() {
    let offline = offline(
        "[link.a]\nparent = \"p\"\naddress = \"02:00:00:00:00:01\"\nup = false\n\
         [link.b]\nparent = \"p\"\naddress = \"02:00:00:00:00:01\"\n",
    );
    assert_eq!(offline.owner(MacAddr::new([2, 0, 0, 0, 0, 1])), offline.find("b"));
}
