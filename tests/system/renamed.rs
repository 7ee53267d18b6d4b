//! A tenant calls its link as another's: commands of the operator are not led astray.

use umacvlan_testkit::{Sandbox, root_or_skip};

use crate::{machine, shown};

/// The number and the present name of each link.
fn links(sandbox: &mut Sandbox) -> Vec<(u64, String)> {
    let link = |link: serde_json::Value| {
        let id = link["umacvlan"]["id"].as_u64().unwrap();
        (id, link["ifname"].as_str().unwrap().to_owned())
    };
    shown(sandbox).into_iter().map(link).collect()
}

/// The number of the link that `name` selects on the host; `None` if it selects none.
fn selected(sandbox: &mut Sandbox, words: &str) -> Option<u64> {
    let ran = sandbox.run(&format!("umacvlan -j -d {words}"));
    let text = ran.stdout;
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    shown[0]["umacvlan"]["id"].as_u64().filter(|_| ran.status == 0)
}

#[test]
fn a_tenants_name_never_selects_from_outside() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = machine();
    // The tenant of net1 takes the name that the other's link has, and one that the operator uses.
    sandbox.ok("ip -n net1 link set mac1 down && ip -n net1 link set mac1 name mac2");
    let renamed = |sandbox: &mut Sandbox, name: &str| {
        for _ in 0..600 {
            if links(sandbox)[0] == (1, name.to_owned()) {
                return;
            }
            sandbox.ok("sleep 0.05");
        }
        panic!("the new name is not followed: {:?}", links(sandbox));
    };
    renamed(&mut sandbox, "mac2");
    let asserts = |sandbox: &mut Sandbox| {
        assert_eq!(selected(sandbox, "link show mac2"), Some(2));
        assert_eq!(selected(sandbox, "link show mac1"), Some(1));
        assert_eq!(selected(sandbox, "-n net1 link show mac2"), Some(1));
        assert_eq!(selected(sandbox, "-n net1 link show mac1"), None);
    };
    asserts(&mut sandbox);
    for signal in ["TERM", "KILL"] {
        sandbox.end_daemon(signal);
        sandbox.daemon("");
        asserts(&mut sandbox);
    }
    // Both change places, the names that they were given stay.
    sandbox.ok("ip -n net2 link set mac2 down && ip -n net2 link set mac2 name web");
    sandbox.ok("umacvlan link set mac2 mtu 1400");
    assert!(sandbox.ok("ip -n net2 link show web").contains("mtu 1400"));
    sandbox.ok("ip -n net1 link set mac2 name web");
    renamed(&mut sandbox, "web");
    let refused = sandbox.run("umacvlan link del web");
    assert!(refused.status != 0 && refused.stderr.contains("Cannot find device"), "{refused:?}");
    assert!(refused.stderr.contains("choose it with -n net"), "{refused:?}");
    assert_eq!(links(&mut sandbox).len(), 2);

    // A link of the operator's own comes first, and follows the names that he gives.
    sandbox.ok("umacvlan link add link p0 name web type macvlan");
    assert_eq!(selected(&mut sandbox, "link show web"), Some(3));
    sandbox.ok("umacvlan link del web");
    assert_eq!(links(&mut sandbox).iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2]);
    sandbox.ok("umacvlan link set mac2 name shop");
    assert_eq!(selected(&mut sandbox, "link show shop"), Some(2));
    assert_eq!(selected(&mut sandbox, "link show mac2"), None);
    sandbox.ok("umacvlan link del shop");
    assert_eq!(links(&mut sandbox), [(1, "web".to_owned())]);
}

/// The daemon handles events in batches; a request that comes between two batches finds the name all
/// the same.
#[test]
fn a_link_is_found_by_its_new_name_at_once() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = machine();
    let mut name = "mac1".to_owned();
    for number in 0..80 {
        let new = format!("new{number}");
        sandbox.ok(&format!(
            "ip -n net1 link set {name} down; ip -n net1 link set {name} name {new} up
             umacvlan -n net1 link set {new} type macvlan mode vepa"
        ));
        name = new;
    }
}
