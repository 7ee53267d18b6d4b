//! The Ethernet multicast groups that an interface has joined.

use std::fs;
use std::io;

use umacvlan_core::MacAddr;
use umacvlan_sys::netns::Netns;

/// The multicast addresses that the interface `index` of `netns` has joined, for its protocols and for
/// packet sockets.
///
/// # Errors
/// The namespace cannot be entered, `/proc` is not mounted, or a line of its file has another format. An
/// interface that does not exist has no groups.
pub fn joined_groups(netns: &Netns, index: u32) -> io::Result<Vec<MacAddr>> {
    Ok(of(index, &all_groups(netns)?))
}

/// The multicast addresses of all interfaces in a namespace, each with the interface's index. The kernel
/// has one list for all, so this reads it once for many interfaces.
///
/// # Errors
/// As [`joined_groups`].
pub fn all_groups(netns: &Netns) -> io::Result<Vec<(u32, MacAddr)>> {
    // The file shows the namespace of the thread that opens it.
    let text = netns.run(|| fs::read(LIST))??;
    // The names of interfaces are bytes. They have no white space, and none of them is used here.
    parse_groups(&String::from_utf8_lossy(&text))
}

/// The groups of one interface.
fn of(index: u32, all: &[(u32, MacAddr)]) -> Vec<MacAddr> {
    let mine = all.iter().filter(|&&(owner, _)| owner == index);
    mine.map(|&(_, group)| group).collect()
}

pub(super) fn parse_groups(text: &str) -> io::Result<Vec<(u32, MacAddr)>> {
    let mut groups = Vec::new();
    for line in text.lines() {
        let (owner, group) = parse_line(line).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{LIST} has a line that is not a group: \"{line}\""),
            )
        })?;
        groups.extend(group.map(|group| (owner, group)));
    }
    Ok(groups)
}

/// Reads "index name users global-users address": the interface and the group, which is `None`
/// on an interface whose addresses are not six bytes long.
fn parse_line(line: &str) -> Option<(u32, Option<MacAddr>)> {
    let mut fields = line.split_ascii_whitespace();
    let index = fields.next()?.parse().ok()?;
    let _name = fields.next()?;
    let _users: u32 = fields.next()?.parse().ok()?;
    let _global_users: u32 = fields.next()?.parse().ok()?;
    let address = fields.next()?;
    if fields.next().is_some() || address.len() % 2 != 0 {
        return None;
    }
    if !address.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let octets = match u64::from_str_radix(address, 16) {
        Ok(number) if address.len() == 12 => number.to_be_bytes(),
        _ => return Some((index, None)),
    };
    let [_, _, a, b, c, d, e, f] = octets;
    Some((index, Some(MacAddr::new([a, b, c, d, e, f]))))
}

const LIST: &str = "/proc/thread-self/net/dev_mcast";

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
2    eth0            1     0     333300000001
2    eth0            1     0     01005e000001
17   averylongname15 2     1     0180c200000e
3    ib0             1     0     00ffffffff12401bffff000000000000ffffffff
";

    #[test]
    fn groups_are_told_apart_by_interface() {
        let two = ["33:33:00:00:00:01", "01:00:5e:00:00:01"].map(|text| text.parse().unwrap());
        let all = parse_groups(TEXT).unwrap();
        assert_eq!(of(2, &all), two);
        assert_eq!(of(17, &all), ["01:80:c2:00:00:0e".parse().unwrap()]);
        assert_eq!(of(1, &all), []);
    }

    #[test]
    fn addresses_of_another_length_are_left_out() {
        assert_eq!(of(3, &parse_groups(TEXT).unwrap()), []);
    }

    #[test]
    fn a_line_with_another_format_is_an_error() {
        for bad in [
            "2 eth0 1 0",
            "2 eth0 1 0 333300000001 1",
            "x eth0 1 0 333300000001",
            "2 eth0 1 0 33330000001",
            "2 eth0 1 0 33330000000g",
            "2 eth0 1 0 +33330000001",
            "2 eth0 -1 0 333300000001",
            "",
        ] {
            assert!(parse_groups(&format!("{bad}\n")).is_err(), "{bad:?} was taken");
        }
    }
}
