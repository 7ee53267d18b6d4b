//! Many commands in one conversation.

use crate::lines::LINKS;
use crate::world::worlds;

#[test]
fn a_batch_goes_as_far_as_that_of_ip() {
    let Some((kernel, ours)) = worlds() else { return };
    for (options, lines) in [
        ("", "# nothing\n\n \t\n"),
        ("", "link set m1 up # and a remark\n\nlink set m2 \\\n  alias \"two words\"\n"),
        ("", "link set m1 alias 'a \"b'\nlink set m2 alias x#y\nlink set m3 up"),
        ("", "link set m1 up\nlink del nosuch\nlink set m2 up\n"),
        ("-force", "link set m1 up\nlink del nosuch\nlink set m2 up\nlnik\n"),
        ("-force", "link set nosuch \\\n mtu 1400\nlink add link p0 m1 type macvlan\n"),
        ("-force", "link set m1 up\nlink frob\nlink set m2 up\n"),
        ("", "link set m1 alias \"open\nlink set m2 up\n"),
        ("", "link add\nlink set m2 up\n"),
        ("", "link del m1\r\nlink del m2\r\n"),
        ("", "ip link del m1\n"),
    ] {
        kernel.reset(&LINKS);
        ours.reset(&LINKS);
        let line = format!("{options} -batch -");
        let (wanted, got) = (kernel.batch(&line, lines), ours.batch(&line, lines));
        assert_eq!(got.status, wanted.status, "{lines}: {got:?}");
        let told = got.err.lines().filter(|line| !line.starts_with("umacvlan: "));
        let told: String = told.map(|line| format!("{line}\n")).collect();
        assert_eq!(told.replace("umacvlan", "ip"), wanted.err, "{lines}");
        assert_eq!(got.out, wanted.out, "{lines}");
        let state = |world: &crate::world::World| {
            let links = world.everything().into_iter().map(|(_, link)| {
                (link["ifname"].clone(), link["ifalias"].clone(), link["flags"][2] == "UP")
            });
            links.collect::<Vec<_>>()
        };
        assert_eq!(state(&ours), state(&kernel), "{lines}");
    }
}

#[test]
fn a_batch_of_a_hundred_links_is_one_conversation() {
    let Some((_, ours)) = worlds() else { return };
    let add: String = (0..100).map(|n| format!("link add link p0 l{n} type macvlan\n")).collect();
    assert!(ours.batch("-batch -", &add).ok());
    assert_eq!(ours.run("-j link").json().as_array().unwrap().len(), 100);
    let delete: String = (0..100).map(|n| format!("link del l{n}\n")).collect();
    assert!(ours.batch("-batch -", &delete).ok());
    assert_eq!(ours.run("-j link").out, "[]\n");
}
