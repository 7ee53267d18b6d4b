//! The steps of a reload, their order, and what is undone when a step fails.

use proptest::prelude::*;

use super::super::*;
use super::{arbitrary, config};
use umacvlan_api::{Code, Problem};

/// What runs after `text` was applied, without later changes.
fn runs(text: &str) -> Running {
    let config = config(text);
    let link = |(key, entry): (&String, &LinkEntry)| {
        let parent_mtu = Some(1500);
        let mut spec = plan::made(entry, key, parent_mtu).spec;
        spec.address = spec.address.or_else(|| "02:00:00:00:00:ff".parse().ok());
        (key.clone(), RunningLink { name: entry.interface_name(key).to_owned(), spec })
    };
    let parents = config.links.values().map(|entry| entry.spec.parent.clone());
    Running {
        links: config.links.iter().map(link).collect(),
        parents: parents.chain(config.parents.keys().cloned()).map(|name| (name, 1500)).collect(),
    }
}

/// The lines of the plan from one file to another.
fn lines(before: &str, after: &str) -> Vec<String> {
    plan(&config(before), &config(after), &runs(before)).lines()
}

const TWO: &str = "[link.a]\nparent = 'p'\nmode = 'bridge'\naddress = '02:00:00:00:00:01'\n\
                   [link.b]\nparent = 'p'\nmode = 'bridge'\naddress = '02:00:00:00:00:02'\n";

#[test]
fn an_unchanged_file_has_no_steps() {
    assert!(lines(TWO, TWO).is_empty());
}

#[test]
fn an_unchanged_entry_is_not_touched_whatever_users_have_done_to_its_link() {
    let mut running = runs(TWO);
    let a = running.links.get_mut("a").unwrap();
    a.name = "eth0".to_owned();
    a.spec.mtu = Some(1400);
    a.spec.netns = Some("blue".to_owned());
    a.spec.up = Some(false);
    assert_eq!(plan(&config(TWO), &config(TWO), &running), Plan::default());
}

#[test]
fn a_link_that_is_gone_is_made_again() {
    let mut running = runs(TWO);
    running.links.remove("a");
    let plan = plan(&config(TWO), &config(TWO), &running);
    assert_eq!(plan.lines(), ["add link a: parent p, mode bridge, address 02:00:00:00:00:01"]);
}

#[test]
fn only_what_has_changed_in_the_file_is_changed() {
    let after =
        TWO.replace("mode = 'bridge'\naddress = '02:00:00:00:00:01'", "mtu = 1400\nalias = 'x'");
    let mut running = runs(TWO);
    // A change by the user, which the file does not have.
    running.links.get_mut("a").unwrap().spec.txqueuelen = Some(7);
    let plan = plan(&config(TWO), &config(&after), &running);
    let expected = [
        "change link a: mode bridge -> vepa",
        "change link a: mtu 1500 -> 1400",
        "change link a: alias none -> x",
    ];
    assert_eq!(plan.lines(), expected);
}

#[test]
fn a_value_that_is_left_out_becomes_the_default_except_an_address() {
    let before = "[link.a]\nparent = 'p'\naddress = '02:00:00:00:00:01'\nmtu = 1400\n\
                  txqueuelen = 7\nbcqueuelen = 8\nbclim = 9\nrate = '1mbit'\nisolation = 'web'\nnetns = 'n'\nalias = 'x'\nup = false\n";
    let expected = [
        "change link a: rules isolation=web -> none",
        "change link a: limits rate=1mbit -> none",
        "change link a: bcqueuelen 8 -> 1000",
        "change link a: bclim 9 -> 1",
        "change link a: mtu 1400 -> 1500",
        "change link a: txqueuelen 7 -> 4096",
        "change link a: alias x -> none",
        "change link a: netns n -> the daemon's",
        "change link a: up off -> on",
    ];
    assert_eq!(lines(before, "[link.a]\nparent = 'p'\n"), expected);
}

#[test]
fn a_value_that_the_link_has_already_needs_no_step() {
    let mut running = runs(TWO);
    running.links.get_mut("a").unwrap().spec.mtu = Some(1400);
    let after = TWO.replacen("mode", "mtu = 1400\nmode", 1);
    assert_eq!(plan(&config(TWO), &config(&after), &running), Plan::default());
}

#[test]
fn a_step_is_undone_to_what_the_link_was_and_not_to_what_the_file_said() {
    let mut running = runs(TWO);
    running.links.get_mut("a").unwrap().spec.mtu = Some(1300);
    let after = TWO.replacen("mode", "mtu = 1400\nmode", 1);
    let plan = plan(&config(TWO), &config(&after), &running);
    let inverse: Vec<String> = plan.steps.iter().map(|step| step.inverse().to_string()).collect();
    assert_eq!(inverse, ["change link a: mtu 1400 -> 1300"]);
}

#[test]
fn a_move_takes_a_link_down_and_sets_it_up_again_behind_everything_else() {
    let after = TWO.replacen("mode", "netns = 'n'\nmtu = 1400\nmode", 1);
    let expected = [
        "change link a: up on -> off",
        "change link a: mtu 1500 -> 1400",
        "change link a: netns the daemon's -> n",
        "change link a: up off -> on",
    ];
    assert_eq!(lines(TWO, &after), expected);
}

#[test]
fn a_link_that_moves_and_is_renamed_has_the_name_of_its_entry_on_the_way() {
    let at_home = "[link.a]\nparent = 'p'\n";
    let away = "[link.a]\nparent = 'p'\nnetns = 'n'\nname = 'eth0'\n";
    let (down, up) = ("change link a: up on -> off", "change link a: up off -> on");
    let expected =
        [down, "change link a: netns the daemon's -> n", "change link a: name a -> eth0", up];
    assert_eq!(lines(at_home, away), expected);
    let expected =
        [down, "change link a: name eth0 -> a", "change link a: netns n -> the daemon's", up];
    assert_eq!(lines(away, at_home), expected);
    let elsewhere = away.replace("'n'", "'m'").replace("eth0", "eth1");
    let expected = [
        down,
        "change link a: name eth0 -> a",
        "change link a: netns n -> m",
        "change link a: name a -> eth1",
        up,
    ];
    assert_eq!(lines(away, &elsewhere), expected);
}

#[test]
fn a_name_of_a_namespace_and_its_path_are_the_same_place() {
    let before = "[link.a]\nparent = 'p'\nnetns = 'n'\n";
    let after = before.replace("'n'", "'/run/netns/n'");
    assert_eq!(lines(before, &after), [""; 0]);
}

#[test]
fn a_source_list_comes_behind_the_mode_and_goes_before_it() {
    let vepa = "[link.a]\nparent = 'p'\n";
    let source = "[link.a]\nparent = 'p'\nmode = 'source'\nmacaddr = ['02:00:00:00:00:09']\n\
                  nodst = true\n";
    let expected = [
        "change link a: mode vepa -> source",
        "change link a: macaddr none -> 02:00:00:00:00:09",
        "change link a: flags none -> nodst",
    ];
    assert_eq!(lines(vepa, source), expected);
    let expected = [
        "change link a: macaddr 02:00:00:00:00:09 -> none",
        "change link a: mode source -> vepa",
        "change link a: flags nodst -> none",
    ];
    assert_eq!(lines(source, vepa), expected);
}

#[test]
fn adding_and_changing_come_before_removing() {
    let after = "[parent.q]\n[link.b]\nparent = 'p'\nmode = 'bridge'\nmtu = 1400\n\
                 [link.c]\nparent = 'q'\nname = 'eth0'\nnetns = 'n'\n";
    let expected = [
        "add parent q: backend auto, poll adaptive, semantics documented, io auto",
        "change link b: mtu 1500 -> 1400",
        "add link c: parent q, mode vepa, name eth0, netns n",
        "remove link a",
    ];
    assert_eq!(lines(TWO, after), expected);
    let expected = [
        "change link b: address 02:00:00:00:00:ff -> 02:00:00:00:00:02",
        "change link b: mtu 1400 -> 1500",
        "add link a: parent p, mode bridge, address 02:00:00:00:00:01",
        "remove link c",
        "remove parent q",
    ];
    assert_eq!(lines(after, TWO), expected);
}

#[test]
fn a_link_that_blocks_another_is_removed_first() {
    // The address.
    let after = TWO.replace("[link.a]", "[link.c]");
    assert_eq!(
        lines(TWO, &after),
        ["remove link a", "add link c: parent p, mode bridge, address 02:00:00:00:00:01"]
    );
    // The address, for a link that stays.
    let after = "[link.b]\nparent = 'p'\nmode = 'bridge'\naddress = '02:00:00:00:00:01'\n";
    let change = "change link b: address 02:00:00:00:00:02 -> 02:00:00:00:00:01";
    assert_eq!(lines(TWO, after), ["remove link a", change]);
    // The parent, which is to have one owner.
    let after = "[link.o]\nparent = 'p'\nmode = 'passthru'\n";
    let expected = ["remove link a", "remove link b", "add link o: parent p, mode passthru"];
    assert_eq!(lines(TWO, after), expected);
    // The name.
    let after = "[link.c]\nparent = 'q'\nname = 'a'\n[link.b]\nparent = 'p'\nmode = 'bridge'\n";
    let expected = ["remove link a", "add link c: parent q, mode vepa, name a"];
    assert_eq!(lines(TWO, after), expected);
}

#[test]
fn a_link_on_another_parent_or_with_another_owner_is_made_anew() {
    let before = "[link.a]\nparent = 'p'\n";
    let expected = ["remove link a", "add link a: parent q, mode vepa"];
    assert_eq!(lines(before, "[link.a]\nparent = 'q'\n"), expected);
    let expected = ["remove link a", "add link a: parent p, mode passthru"];
    assert_eq!(lines(before, "[link.a]\nparent = 'p'\nmode = 'passthru'\n"), expected);
}

#[test]
fn a_link_whose_program_listens_elsewhere_is_made_anew() {
    let listens = "[link.a]\nparent = 'p'\nport = 'vhost-user'\nclient = '/run/a.sock'\n";
    assert_eq!(config(&config(listens).to_toml()), config(listens));
    let anew = |more: &str| {
        ["remove link a".to_owned(), format!("add link a: parent p, mode vepa, {more}")]
    };
    let elsewhere = listens.replace("/run/a", "/run/b");
    assert_eq!(lines(listens, &elsewhere), anew("client /run/b.sock, port vhost-user"));
    let connects = listens.split("client").next().unwrap();
    assert_eq!(lines(listens, connects), anew("port vhost-user"));
    assert!(lines(listens, listens).is_empty());
}

#[test]
fn a_link_whose_program_is_behind_another_interface_is_made_anew() {
    let before = "[link.a]\nparent = 'p'\nport = 'dev'\ndev = 'tap0'\n";
    assert_eq!(config(&config(before).to_toml()), config(before));
    let anew = |more: &str| {
        ["remove link a".to_owned(), format!("add link a: parent p, mode vepa, {more}")]
    };
    let other = before.replace("tap0", "tap1");
    assert_eq!(lines(before, &other), anew("dev tap1, port dev"));
    let tap = "[link.a]\nparent = 'p'\nport = 'program-tap'\n";
    assert_eq!(config(&config(tap).to_toml()), config(tap));
    assert_eq!(lines(before, tap), anew("port program-tap"));
    assert!(lines(before, before).is_empty());
}

#[test]
fn two_links_that_change_owners_are_both_removed_first() {
    let before = "[link.a]\nparent = 'p'\nmode = 'passthru'\n[link.b]\nparent = 'q'\n";
    let after = "[link.a]\nparent = 'q'\nmode = 'passthru'\n[link.b]\nparent = 'p'\n";
    let expected = [
        "remove link a",
        "remove link b",
        "add link a: parent q, mode passthru",
        "add link b: parent p, mode vepa",
    ];
    assert_eq!(lines(before, after), expected);
}

#[test]
fn an_address_passes_from_one_link_to_the_next() {
    let after = TWO.replace(":02'", ":03'").replace(":01'", ":02'");
    let expected = [
        "change link b: address 02:00:00:00:00:02 -> 02:00:00:00:00:03",
        "change link a: address 02:00:00:00:00:01 -> 02:00:00:00:00:02",
    ];
    assert_eq!(lines(TWO, &after), expected);
}

#[test]
fn two_links_swap_their_addresses_over_a_third_one() {
    let after = TWO.replace(":02'", ":03'").replace(":01'", ":02'").replace(":03'", ":01'");
    let expected = [
        "change link a: address 02:00:00:00:00:01 -> 02:75:6d:76:00:00",
        "change link b: address 02:00:00:00:00:02 -> 02:00:00:00:00:01",
        "change link a: address 02:75:6d:76:00:00 -> 02:00:00:00:00:02",
    ];
    assert_eq!(lines(TWO, &after), expected);
}

#[test]
fn a_link_that_waits_for_a_cycle_of_addresses_is_not_part_of_it() {
    let three = format!("{TWO}[link.c]\nparent = 'p'\naddress = '02:00:00:00:00:03'\n");
    let after = three
        .replace(":03'", ":04'")
        .replace(":02'", ":03'")
        .replace(":01'", ":02'")
        .replace(":04'", ":02'")
        .replacen("[link.a]", "[link.a]\nup = false", 1);
    let expected = [
        "change link a: up on -> off",
        "change link b: address 02:00:00:00:00:02 -> 02:75:6d:76:00:00",
        "change link a: address 02:00:00:00:00:01 -> 02:00:00:00:00:02",
        "change link c: address 02:00:00:00:00:03 -> 02:00:00:00:00:02",
        "change link b: address 02:75:6d:76:00:00 -> 02:00:00:00:00:03",
    ];
    assert_eq!(lines(&three, &after), expected);
}

#[test]
fn new_settings_of_an_attached_parent_are_a_note() {
    let before = "[parent.p]\n[engine]\npoll = 'busy'\n";
    let plan = plan(&config(before), &config("[parent.p]\nio = 'plain'\n"), &runs(before));
    assert!(plan.steps.is_empty());
    let [note] = &plan.notes[..] else { panic!("{:?}", plan.notes) };
    assert!(note.starts_with("later: parent p: backend auto, poll adaptive, "), "{note}");
    assert!(note.contains("io plain; it is attached, so this takes effect when"), "{note}");
}

#[test]
fn changes_of_the_daemon_are_steps_or_notes() {
    let expected = [
        "change daemon: log default -> debug",
        "change daemon: on_exit keep -> remove",
        "later: daemon: socket /s; this takes effect when the daemon is started again",
        "later: docker; this takes effect when the daemon is started again",
    ];
    let wanted = "docker = {}\ndaemon = { log = 'debug', on_exit = 'remove', socket = '/s' }";
    assert_eq!(lines("", wanted), expected);
}

/// Executes steps, fails at step `bad`, and returns all steps that were tried.
fn failing_at(steps: &[Step], bad: usize) -> (Vec<Step>, Result<(), Problem>) {
    let mut asked = Vec::new();
    let done = execute(steps, |step| {
        asked.push(step.clone());
        if asked.len() == bad + 1 { Err(problem("no room")) } else { Ok(()) }
    });
    (asked, done)
}

fn problem(message: &str) -> Problem {
    let message = message.to_owned();
    Problem { code: Code::Storage, message, errno: Some(28), kernel: None, device: None }
}

#[test]
fn a_plan_that_fails_at_any_step_is_undone_backwards() {
    let after =
        "[parent.q]\n[link.b]\nparent = 'p'\nmtu = 1400\nnetns = 'n'\n[link.c]\nparent = 'q'\n";
    let steps = plan(&config(TWO), &config(after), &runs(TWO)).steps;
    assert!(steps.len() >= 7, "{steps:?}");
    for bad in 0..steps.len() {
        let (asked, done) = failing_at(&steps, bad);
        let problem = done.unwrap_err();
        let (done, undone) = asked.split_at(bad + 1);
        assert_eq!(done, &steps[..=bad]);
        let inverse: Vec<Step> = steps[..bad].iter().rev().map(Step::inverse).collect();
        assert_eq!(undone, inverse);
        let expected = format!("{}: no room; everything is as it was before", steps[bad]);
        assert_eq!((problem.message, problem.errno), (expected, Some(28)));
    }
    let (asked, done) = failing_at(&steps, steps.len());
    assert_eq!((asked, done), (steps, Ok(())));
}

#[test]
fn a_step_that_cannot_be_undone_is_reported() {
    let steps = plan(&config(""), &config(TWO), &Running::default()).steps;
    let mut count = 0;
    let failed = execute(&steps, |_| {
        count += 1;
        if count >= 2 { Err(problem("broken")) } else { Ok(()) }
    });
    let expected = "add link b: parent p, mode bridge, address 02:00:00:00:00:02: broken; and this could not be undone: \
                    remove link a: broken";
    assert_eq!(failed.unwrap_err().message, expected);
}

proptest! {
    #[test]
    fn the_same_configuration_never_asks_for_anything(config in arbitrary::config()) {
        let running = runs(&config.to_toml());
        prop_assert_eq!(plan(&config, &config, &running), Plan::default());
    }

    #[test]
    fn a_plan_makes_what_is_wanted_of_what_runs(
        before in arbitrary::config(),
        after in arbitrary::config(),
    ) {
        let mut running = runs(&before.to_toml());
        let steps = plan(&before, &after, &running).steps;
        let start = running.clone();
        for step in &steps {
            arbitrary::act(&mut running, step);
        }
        let keys: Vec<&String> = running.links.keys().collect();
        prop_assert_eq!(keys, after.links.keys().collect::<Vec<_>>());
        prop_assert_eq!(plan(&after, &after, &running), Plan::default());
        for (key, entry) in &after.links {
            let RunningLink { name, spec } = &running.links[key];
            prop_assert_eq!(&**name, entry.interface_name(key));
            prop_assert_eq!(
                (&spec.parent, spec.up, spec.settings.mode, spec.settings.flags,
                    &spec.settings.sources),
                (&entry.spec.parent, entry.spec.up, entry.spec.settings.mode,
                    entry.spec.settings.flags, &entry.spec.settings.sources)
            );
            for (is, wanted) in [(spec.mtu, entry.spec.mtu), (spec.settings.bcqueuelen, entry.spec.settings.bcqueuelen)] {
                prop_assert!(wanted.is_none() || is == wanted, "{is:?} {wanted:?}");
            }
        }
        // And back, as after a failure at the very end.
        for step in steps.iter().rev() {
            arbitrary::act(&mut running, &step.inverse());
        }
        prop_assert_eq!(running.links, start.links);
    }
}
