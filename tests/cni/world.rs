//! Helpers that the tests share.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use serde_json::Value;
use umacvlan_testkit::{LIMIT, root_or_skip, skip};

use crate::runtime::{Container, PLUGINS};

/// True where namespaces can be made and Debian's plugins are there.
pub(crate) fn plugins_or_skip() -> bool {
    if !root_or_skip() {
        return false;
    }
    let there = Path::new(PLUGINS).join("host-local").exists();
    if !there {
        skip("containernetworking-plugins is not installed");
    }
    there
}

/// The first address of a result.
pub(crate) fn address(result: &Value) -> IpAddr {
    let text = result["ips"][0]["address"].as_str().unwrap_or_else(|| panic!("{result}"));
    text.split('/').next().unwrap().parse().unwrap()
}

/// Has a container send to the other one, which has the address `ip`, and receive its answer.
pub(crate) fn talk(one: &Container, other: &Container, ip: IpAddr) {
    let to = SocketAddr::new(ip, 7);
    let listener = other.netns.run(|| TcpListener::bind(to)).unwrap().unwrap();
    let mut stream = one.netns.run(|| TcpStream::connect_timeout(&to, LIMIT)).unwrap().unwrap();
    let (mut heard, _) = listener.accept().unwrap();
    stream.write_all(b"hello").unwrap();
    let mut word = [0; 5];
    heard.set_read_timeout(Some(LIMIT)).unwrap();
    heard.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"hello");
}

/// The code and the message of an error.
pub(crate) fn told(error: &Value) -> (u64, String) {
    let code = error["code"].as_u64().unwrap_or_else(|| panic!("{error}"));
    let msg = error["msg"].as_str().unwrap_or_else(|| panic!("{error}"));
    assert!(!msg.is_empty() && !msg.contains('\n'), "{msg:?}");
    (code, msg.to_owned())
}
