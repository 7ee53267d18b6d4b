//! `umacvlan replay`: a capture in, verdicts and captures out. No namespace, no privilege.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, PcapBlockOwned, PcapError, PcapNGReader};
use serde_json::Value;

use crate::world::UMACVLAN;

const LAB: &str = "\
[link.mac1]
parent = \"eth0\"
mode = \"bridge\"
address = \"02:00:00:00:00:01\"

[link.mac2]
parent = \"eth0\"
mode = \"bridge\"
address = \"02:00:00:00:00:02\"
mtu = 68

[link.apart]
parent = \"eth0\"
mode = \"private\"
address = \"02:00:00:00:00:03\"
";

/// A directory for the test, removed when it is dropped.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let place = Self(
            std::env::temp_dir().join(format!("umacvlan-replay-{test}-{}", std::process::id())),
        );
        fs::create_dir(&place.0).unwrap();
        fs::write(place.file("lab.toml"), LAB).unwrap();
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A directory that cannot be removed does not matter.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn station(n: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, n]
}

fn frame(dst: [u8; 6], src: [u8; 6], length: usize) -> Vec<u8> {
    let mut frame = [&dst[..], &src, &[0x88, 0xb5]].concat();
    frame.resize(length, 0);
    frame
}

/// A pcap file with these frames, a second apart.
fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1].map(u32::to_le_bytes).concat();
    for (second, frame) in (100..).zip(frames) {
        let length = u32::try_from(frame.len()).unwrap();
        file.extend([second, 0, length, length].map(u32::to_le_bytes).concat());
        file.extend(frame);
    }
    file
}

/// Frames between siblings, to a private one, a broadcast that exceeds one MTU, and one for the
/// host.
fn frames() -> Vec<Vec<u8>> {
    vec![
        frame(station(2), station(1), 60),
        frame(station(3), station(9), 60),
        frame([0xff; 6], station(1), 100),
        frame(station(8), station(9), 60),
        frame([2; 6], [4; 6], 9),
    ]
}

/// Runs `umacvlan replay` with a capture on standard input.
fn replay(place: &Place, words: &[&str], capture: &[u8]) -> Output {
    let mut command = Command::new(UMACVLAN);
    command.args(["replay", "-", "--config"]).arg(place.file("lab.toml")).args(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The command may end before it has read all of its input.
    let _ = child.stdin.take().unwrap().write_all(capture);
    child.wait_with_output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The contents of a pcapng file: the names of its interfaces, and interface, length and comment of
/// each frame.
fn contents(path: &Path) -> (Vec<String>, Vec<(u32, u32, String)>) {
    let mut file = PcapNGReader::new(65536, fs::File::open(path).unwrap()).unwrap();
    let (mut names, mut frames) = (Vec::new(), Vec::new());
    loop {
        let used = match file.next() {
            Ok((used, PcapBlockOwned::NG(block))) => {
                match block {
                    Block::InterfaceDescription(block) => {
                        assert_eq!((block.linktype.0, block.if_tsresol), (1, 9));
                        names.push(block.if_name().unwrap().unwrap().to_owned());
                    }
                    Block::EnhancedPacket(block) => {
                        let comment = block.options.iter().find(|option| option.code.0 == 1);
                        let comment = comment.map(|option| option.as_str().unwrap().to_owned());
                        frames.push((block.if_id, block.origlen, comment.unwrap_or_default()));
                    }
                    _ => {}
                }
                used
            }
            Err(PcapError::Eof) => return (names, frames),
            Err(PcapError::Incomplete(_)) => {
                file.refill().unwrap();
                continue;
            }
            _ => panic!("{} is damaged", path.display()),
        };
        file.consume(used);
    }
}

#[test]
fn each_frame_has_a_verdict_and_a_reason() {
    let place = Place::new("verdicts");
    let lines = lines(&replay(&place, &["-j"], &pcap(&frames())));
    let told: Vec<_> = lines[..5]
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            [text("from"), text("link"), text("verdict"), text("reason")].join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            "link mac1 deliver ",
            "wire  deliver ",
            "link mac1 flood ",
            "wire  host ",
            "wire  drop runt"
        ]
    );
    assert_eq!(lines[0]["to"], serde_json::json!(["mac2"]));
    assert_eq!(lines[2]["too_long"], serde_json::json!(["mac2"]));
    assert_eq!(lines[2]["wire"], true);
    assert_eq!(lines[1]["time"], "101.000000000");
    let summary = &lines[5]["summary"];
    assert_eq!(summary["frames"]["frames"], 5);
    assert_eq!(summary["links"][2]["name"], "mac2");
    assert_eq!(summary["links"][2]["counters"]["lost"]["too_long"], 1);
    assert_eq!(summary["wire"]["dropped"]["runt"], 1);
}

#[test]
fn every_destination_has_a_capture_of_its_frames() {
    let place = Place::new("files");
    let out = place.file("out");
    let output = replay(&place, &["--out", out.to_str().unwrap()], &pcap(&frames()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let ends = |name: &str| {
        let (names, frames) = contents(&out.join(name));
        (names.join(" "), frames.into_iter().map(|frame| frame.1).collect::<Vec<_>>())
    };
    assert_eq!(ends("link-mac1.pcapng"), ("mac1".to_owned(), vec![]));
    assert_eq!(ends("link-mac2.pcapng"), ("mac2".to_owned(), vec![60]));
    assert_eq!(ends("link-apart.pcapng"), ("apart".to_owned(), vec![60]));
    assert_eq!(ends("wire.pcapng"), ("eth0".to_owned(), vec![100]));
    assert_eq!(ends("host.pcapng"), ("eth0".to_owned(), vec![60]));
    let (names, drops) = contents(&out.join("drops.pcapng"));
    assert_eq!(names, ["eth0", "apart", "mac1", "mac2"]);
    assert_eq!(
        drops,
        [
            (2, 100, "too_long: frame 3, from mac1 to mac2".to_owned()),
            (0, 9, "runt: frame 5, from the wire".to_owned()),
        ]
    );
}

#[test]
fn the_same_capture_gives_the_same_output() {
    let place = Place::new("same");
    let run = || replay(&place, &[], &pcap(&frames())).stdout;
    let first = run();
    assert_eq!(first, run());
    let text = String::from_utf8(first).unwrap();
    let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let words = |line: String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(row("mac2"))[3..], ["0", "1", "1", "too_long", "1"]);
    assert_eq!(words(row("the wire"))[2..], ["3", "1", "1", "runt", "1"]);
    assert!(text.contains("note: eth0: address 02:"), "{text}");
}

#[test]
fn all_frames_may_come_from_one_place() {
    let place = Place::new("from");
    let reflected = frame(station(3), station(1), 60);
    for (from, verdict) in [("wire", "drop"), ("auto", "wire"), ("mac2", "wire")] {
        let lines = lines(&replay(
            &place,
            &["-j", "--from", from],
            &pcap(std::slice::from_ref(&reflected)),
        ));
        assert_eq!(lines[0]["verdict"], verdict, "--from {from}");
    }
}

#[test]
fn a_damaged_capture_is_reported_after_its_readable_frames() {
    let place = Place::new("damage");
    let mut capture = pcap(&frames());
    let length = capture.len();
    capture.truncate(length - 1);
    let output = replay(&place, &["-j"], &capture);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(told.lines().count(), 1, "{told}");
    let wanted = format!("umacvlan: -, after 4 frames: byte {}: ", length - 25);
    assert!(told.starts_with(&wanted), "{told}");
    assert_eq!(str::from_utf8(&output.stdout).unwrap().lines().count(), 5);
}

#[test]
fn frames_without_the_tag_of_a_vlan_are_counted_or_taken() {
    let place = Place::new("vlan");
    fs::write(place.file("lab.toml"), LAB.replace("eth0", "eth0.10")).unwrap();
    let plain = frame(station(2), station(1), 60);
    let mut tagged = plain.clone();
    tagged.splice(12..12, [0x81, 0, 0, 10]);
    let some = replay(&place, &["-j"], &pcap(&[plain.clone(), tagged]));
    let summary = &lines(&some)[1]["summary"];
    assert_eq!((&summary["frames"]["frames"], &summary["left_out"]), (&1.into(), &1.into()));

    let none = replay(&place, &[], &pcap(&[plain.clone(), plain.clone()]));
    let told = String::from_utf8(none.stderr).unwrap();
    assert_eq!((none.status.code(), &none.stdout[..]), (Some(1), &b""[..]));
    assert!(told.contains("none of its 2 frames has the tag of eth0.10: --untagged"), "{told}");

    let taken = lines(&replay(&place, &["-j", "--untagged"], &pcap(&[plain])));
    assert_eq!(taken[0]["verdict"], "deliver");
}

#[test]
fn what_is_no_capture_is_an_error_and_nothing_else() {
    let place = Place::new("nothing");
    let output = replay(&place, &[], b"no capture at all, but long enough");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b""[..]));
    assert_eq!(told, "umacvlan: -: it is neither pcap nor pcapng\n");
}

#[test]
fn wrong_options_are_reported_before_input_is_read() {
    let place = Place::new("options");
    for (words, told) in [
        (["--from", "mac9"], "has no link mac9: expected auto, wire or one of apart, mac1, mac2"),
        (["--parent", "eth9"], "has no parent eth9: it has eth0"),
        (["--join", "mac9=01:00:5e:00:00:05"], "has no link mac9"),
        (["--mtu", "60"], "MTU 60 is below the minimum of Ethernet"),
        (["--parent-mac", "02:00:00:00:00:01"], "is the address of the parent"),
    ] {
        let output = replay(&place, &words, b"");
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(error.contains(told) && error.lines().count() == 1, "{error}");
    }
}
