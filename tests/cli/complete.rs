//! Completion as a shell sees it: the hidden command, and the files in `completions/` that call it.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use umacvlan_testkit::root_or_skip;

use crate::world::{UMACVLAN, World};

/// Completion of the last of these words.
fn complete(words: &[&str]) -> Command {
    let mut command = Command::new(UMACVLAN);
    command.env("UMACVLAN_SOCKET", "/nonexistent/umacvlan.sock").arg("__complete").args(words);
    command
}

fn lines(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// A file of `completions/`.
fn script(name: &str) -> String {
    format!("{}/completions/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// True if a shell is installed.
fn has(shell: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(shell).exists())
}

/// The same with the folder of the command under test before everything else.
fn path() -> std::ffi::OsString {
    let own = Path::new(UMACVLAN).parent().unwrap().to_owned();
    let others = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths([own].into_iter().chain(std::env::split_paths(&others))).unwrap()
}

/// The text with which bash replaces the last word of `line`.
fn bash(world: &World, line: &str) -> Vec<String> {
    const SCRIPT: &str = "source \"$0\"; COMP_LINE=$1; COMP_POINT=${#COMP_LINE}; \
         COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _umacvlan umacvlan; \
         (( ${#COMPREPLY[@]} )) && printf '%s\\n' \"${COMPREPLY[@]}\" || true";
    let mut command = Command::new("bash");
    command.args(["-c", SCRIPT, &script("umacvlan.bash"), line]).env("PATH", path());
    lines(&world.output(&mut command))
}

#[test]
fn interfaces_that_can_be_parents_are_offered() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    world.rtnl.add_veth("down", "x0", None).unwrap();
    let offered = lines(&world.output(&mut complete(&["link", "add", "link", ""])));
    assert_eq!(offered, ["down\tdown", "p0", "q0", "x0\tdown"]);
    assert_eq!(lines(&world.output(&mut complete(&["doctor", "q"]))), ["q0"]);
}

#[test]
fn completion_does_not_wait_for_a_daemon_that_does_not_answer() {
    let socket = std::env::temp_dir().join(format!("umv-mute-{}.sock", std::process::id()));
    let mute = UnixListener::bind(&socket).unwrap();
    let socket_text = socket.to_str().unwrap();
    let output = complete(&["--socket", socket_text, "link", "del", ""]).output().unwrap();
    assert_eq!(lines(&output), ["dev", "type"]);
    drop(mute);
    std::fs::remove_file(&socket).unwrap();
}

#[test]
fn nonsense_completes_to_nothing() {
    for words in [&[][..], &["frob", ""], &["link", "frob", ""], &["run", "--", "\u{fffd}\n"]] {
        assert_eq!(lines(&complete(words).output().unwrap()), Vec::<String>::new(), "{words:?}");
    }
}

#[test]
fn bash_puts_candidates_where_it_has_split_the_word() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    for (line, expected) in [
        ("umacvlan doc", &["doctor"][..]),
        ("umacvlan run --parent ", &["p0", "q0"]),
        ("umacvlan run --parent=q", &["q0"]),
        ("umacvlan run --sub mac1,mode=b", &["bridge"]),
        ("umacvlan link add link p0 address 02:00:00:00:00:01 type macvlan mode v", &["vepa"]),
        ("umacvlan frob ", &[]),
    ] {
        assert_eq!(bash(&world, line), expected, "{line:?}");
    }
}

#[test]
fn fish_offers_the_same() {
    if !root_or_skip() || !has("fish") {
        return;
    }
    let mut command = Command::new("fish");
    let ask = "source $argv[1]; complete -C 'umacvlan run --parent '";
    command.args(["--no-config", "-c", ask, &script("umacvlan.fish")]).env("PATH", path());
    assert_eq!(lines(&World::new().output(&mut command)), ["p0", "q0"]);
}

#[test]
fn the_completion_files_are_valid_shell() {
    for (shell, check, file) in [
        ("bash", "-n", "umacvlan.bash"),
        ("zsh", "-n", "umacvlan.zsh"),
        ("fish", "--no-execute", "umacvlan.fish"),
    ] {
        if has(shell) {
            let output = Command::new(shell).args([check, &script(file)]).output().unwrap();
            assert_eq!(lines(&output), Vec::<String>::new(), "{shell}");
        }
    }
}
