//! A daemon with a configuration file: applied at the start, reloaded whole or not at all, saved.

use umacvlan_testkit::{Sandbox, root_or_skip};

const FILE: &str = "run/umacvlan.toml";

const FIRST: &str = r#"
[parent.p0]
poll = "interrupt"

[link.mac1]
parent = "p0"
mode = "bridge"
address = "02:00:00:00:00:01"
netns = "net1"

[link.mac2]
parent = "p0"
mode = "bridge"
address = "02:00:00:00:00:02"
netns = "net2"
"#;

/// A daemon that runs by [`FIRST`].
fn configured() -> Sandbox {
    let mut sandbox = Sandbox::new(env!("CARGO_BIN_EXE_umacvlan"));
    sandbox.script(
        "ip link add p0 up type veth peer name q0
         ip link set q0 up
         ip netns add net1
         ip netns add net2",
    );
    sandbox.file(FILE, FIRST);
    sandbox.daemon("--config /run/umacvlan.toml");
    sandbox
}

/// Name, mode, MTU and namespace of every link.
fn links(sandbox: &mut Sandbox) -> Vec<String> {
    let text = sandbox.ok("umacvlan -j -d link show");
    let links: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let line = |link: &serde_json::Value| {
        let mode = link["linkinfo"]["info_data"]["mode"].as_str().unwrap();
        let netns = link["umacvlan"]["netns"].as_str().unwrap_or("-");
        format!("{} {mode} {} {netns}", link["ifname"].as_str().unwrap(), link["mtu"])
    };
    links.iter().map(line).collect()
}

#[test]
fn a_file_is_applied_at_the_start_and_a_second_start_changes_nothing() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = configured();
    let wanted = ["mac1 bridge 1500 net1", "mac2 bridge 1500 net2"];
    assert_eq!(links(&mut sandbox), wanted);
    assert!(sandbox.ok("umacvlan -j parent show p0").contains("interrupt"));
    let indices = sandbox.ok("ip -n net1 -br link; ip -n net2 -br link");
    sandbox.end_daemon("TERM");
    sandbox.daemon("--config /run/umacvlan.toml");
    assert_eq!(links(&mut sandbox), wanted);
    assert_eq!(sandbox.ok("ip -n net1 -br link; ip -n net2 -br link"), indices);
    sandbox.ok("umacvlan config diff");
}

#[test]
fn a_reload_applies_changed_entries_only() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = configured();
    // The entry of mac1 is unchanged, so changes by its user stay, too.
    sandbox.script("ip -n net1 link set mac1 down\nip -n net1 link set mac1 name eth0 mtu 1300 up");
    let changed = FIRST.replace("02:00:00:00:00:02\"", "02:00:00:00:00:02\"\nmtu = 1400");
    sandbox.file(FILE, &format!("{changed}\n[link.mac3]\nparent = \"p0\"\nmode = \"vepa\"\n"));
    let planned = sandbox.run("umacvlan config diff");
    assert_eq!(planned.status, 1, "{planned:?}");
    assert!(planned.stdout.contains("mac2") && planned.stdout.contains("mac3"), "{planned:?}");
    assert!(!planned.stdout.contains("mac1"), "{planned:?}");
    sandbox.ok("umacvlan config reload");
    let wanted = ["eth0 bridge 1300 net1", "mac2 bridge 1400 net2", "mac3 vepa 1500 -"];
    assert_eq!(links(&mut sandbox), wanted);

    // Reload by a signal, with a link less.
    sandbox.file(FILE, &changed);
    sandbox.ok("kill -HUP $(cat /run/pid)");
    sandbox.ok("until [ $(umacvlan -br link show | wc -l) = 2 ]; do :; done");
}

#[test]
fn a_reload_that_fails_leaves_everything_as_it_was() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = configured();
    let before = links(&mut sandbox);
    let larger = FIRST.replace("02:00:00:00:00:02\"", "02:00:00:00:00:02\"\nmtu = 1400");
    for (file, words) in [
        (format!("{FIRST}\n[link.mac3]\nparent = 3\n"), "/run/umacvlan.toml:18:10"),
        (format!("{FIRST}\n[link.mac3]\nparnet = \"p0\"\n"), "parent"),
        (format!("{larger}\n[link.mac3]\nparent = \"p9\"\n"), "p9"),
        (format!("{larger}\n[link.mac3]\nparent = \"p0\"\nmtu = 9000\n"), "9000"),
    ] {
        sandbox.file(FILE, &file);
        let failed = sandbox.run("umacvlan config reload");
        assert_eq!(failed.status, 1, "{failed:?}");
        assert!(failed.stderr.contains(words), "{words}: {failed:?}");
        assert_eq!(links(&mut sandbox), before, "{file}");
    }
}

#[test]
fn a_link_of_the_file_waits_for_its_namespace() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = Sandbox::new(env!("CARGO_BIN_EXE_umacvlan"));
    sandbox.script("ip link add p0 up type veth peer name q0; ip netns add net1");
    sandbox.file(FILE, FIRST);
    sandbox.daemon("--config /run/umacvlan.toml");
    assert_eq!(links(&mut sandbox), ["mac1 bridge 1500 net1"]);
    sandbox.ok("ip netns add net2");
    sandbox.ok(
        "(for i in $(seq 300); do umacvlan -n net2 link show mac2 2>/dev/null && exit; sleep 0.1; \
         done; exit 1)",
    );
    assert_eq!(links(&mut sandbox), ["mac1 bridge 1500 net1", "mac2 bridge 1500 net2"]);
    assert_eq!(sandbox.ok("umacvlan config diff"), "");
}

#[test]
fn a_save_loses_no_change_of_the_file() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = configured();
    sandbox.script(
        "umacvlan -n net1 link set mac1 mtu 1400
         echo '# a comment' >>/run/umacvlan.toml
         umacvlan config save
         grep -q 'a comment' /run/umacvlan.toml~
         grep -q 'mtu = 1400' /run/umacvlan.toml
         sed -i 's/mtu = 1400/mtu = 1300/' /run/umacvlan.toml",
    );
    let refused = sandbox.run("umacvlan config save");
    assert_eq!(refused.status, 1, "{refused:?}");
    let why = "/run/umacvlan.toml was changed since the daemon has read it";
    assert!(refused.stderr.contains(why) && refused.stderr.contains("--force"), "{refused:?}");
    sandbox.ok("echo '[' >/run/umacvlan.toml");
    let refused = sandbox.run("umacvlan config save");
    assert!(refused.stderr.contains("has mistakes"), "{refused:?}");
    sandbox.script("umacvlan config save --force; grep -q 'mtu = 1400' /run/umacvlan.toml");
}

#[test]
fn a_saved_configuration_makes_the_same_links_again() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = configured();
    sandbox.script(
        "umacvlan link add link p0 mac3 mtu 1280 type macvlan mode source macaddr set 02:00:00:00:00:99
         umacvlan link set mac1 type macvlan mode private
         umacvlan config save
         umacvlan config check /run/umacvlan.toml
         umacvlan config diff",
    );
    let before = links(&mut sandbox);
    sandbox.end_daemon("KILL");
    // The same as after a boot: no links, no state.
    sandbox.script(
        "ip link del mac3
         ip -n net1 link del mac1
         ip -n net2 link del mac2
         rm -r /run/umacvlan",
    );
    sandbox.daemon("--config /run/umacvlan.toml");
    let mut after = links(&mut sandbox);
    after.sort();
    assert_eq!(after, before);
}

#[test]
fn the_log_filter_is_changed_while_the_daemon_runs() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = configured();
    sandbox.ok("umacvlan log off");
    assert_eq!(sandbox.ok("umacvlan log"), "off\n");
    sandbox.ok("umacvlan link set mac1 alias silent");
    sandbox.ok("umacvlan log info");
    sandbox.ok("umacvlan link set mac1 alias loud");
    let log = sandbox.ok("cat /run/log");
    assert!(log.contains("loud") && !log.contains("silent"), "{log}");
    let wrong = sandbox.run("umacvlan log info,=");
    assert_eq!(wrong.status, 1);
    assert!(wrong.stderr.contains("\"=\" is no level"), "{wrong:?}");
}
