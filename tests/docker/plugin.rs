//! Plays dockerd by hand: its requests, one for each connection.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};
use umacvlan_testkit::{Sandbox, root_or_skip};

/// Options with which a daemon serves Docker.
pub(crate) const DOCKER: &str = "--docker --docker-state /run/docker-state";

/// The socket of the driver on its machine.
pub(crate) const SOCKET: &str = "run/docker/plugins/umacvlan.sock";

/// A machine with the parent `p0`, and a daemon that serves Docker.
pub(crate) struct Plugin {
    pub(crate) machine: Sandbox,
}

/// The result of a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Plugin {
    /// Returns `None`, and says why on standard error, where privileges are missing.
    pub(crate) fn new() -> Option<Self> {
        if !root_or_skip() {
            return None;
        }
        let mut machine = Sandbox::new(env!("CARGO_BIN_EXE_umacvlan"));
        machine.script("ip link add p0 up type veth peer name q0\nip link set q0 up");
        machine.daemon(DOCKER);
        Some(Self { machine })
    }

    /// Kills the daemon and starts another one.
    pub(crate) fn restart(&mut self) {
        self.machine.end_daemon("KILL");
        self.machine.daemon(DOCKER);
    }

    /// Sends text as the body of a call, as dockerd 20.10 does: without the headers `Host` and
    /// `Content-Type`.
    pub(crate) fn send(&self, method: &str, body: &str) -> Answer {
        let mut stream = UnixStream::connect(self.machine.path(SOCKET)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let accept = "application/vnd.docker.plugins.v1.2+json";
        // A body too large is refused, perhaps before all of it is written.
        let _ = write!(
            stream,
            "POST /{method} HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: \
             {}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, body: serde_json::from_str(body).unwrap_or(Value::Null) }
    }

    /// Calls the driver, which must succeed, and returns its answer.
    pub(crate) fn ok(&self, method: &str, body: &Value) -> Value {
        let answer = self.send(&format!("NetworkDriver.{method}"), &body.to_string());
        assert_eq!(answer.status, 200, "{method} {body}: {answer:?}");
        assert_eq!(answer.body["Err"], Value::Null, "{method} {body}: {answer:?}");
        answer.body
    }

    /// Calls the driver, which must refuse, and returns the message for the user.
    pub(crate) fn refused(&self, method: &str, body: &Value) -> String {
        let answer = self.send(&format!("NetworkDriver.{method}"), &body.to_string());
        let why = answer.body["Err"].as_str().unwrap_or_else(|| panic!("{method} {body}: done"));
        assert!(!why.is_empty() && !why.contains('\n'), "{why:?}");
        why.to_owned()
    }

    /// Every link: its name, parent, mode and address.
    pub(crate) fn links(&mut self) -> Vec<[String; 4]> {
        let text = self.machine.ok("umacvlan -j -d link show");
        let links: Vec<Value> = serde_json::from_str(&text).unwrap();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let shown = |link: &Value| {
            let (parent, mode) =
                (&link["umacvlan"]["parent"], &link["linkinfo"]["info_data"]["mode"]);
            [word(&link["ifname"]), word(parent), word(mode), word(&link["address"])]
        };
        links.iter().map(shown).collect()
    }
}

/// The request of dockerd 20.10 for `docker network create --subnet 10.1.0.0/24` with these `-o`.
pub(crate) fn network(id: &str, options: &Value) -> Value {
    json!({
        "NetworkID": id,
        "Options": {"com.docker.network.enable_ipv6": false, "com.docker.network.generic": options},
        "IPv4Data": [{
            "AddressSpace": "LocalDefault", "Gateway": "10.1.0.1/24", "Pool": "10.1.0.0/24",
            "AuxAddresses": {"router": "10.1.0.9/24"},
        }],
        "IPv6Data": [],
    })
}

/// Its request for a container on that network.
pub(crate) fn endpoint(network: &str, id: &str, address: &str) -> Value {
    json!({
        "NetworkID": network, "EndpointID": id,
        "Interface": {"Address": address, "AddressIPv6": "", "MacAddress": ""},
        "Options": {
            "com.docker.network.endpoint.exposedports": [],
            "com.docker.network.portmap": [],
        },
    })
}

/// The body of the other calls about an endpoint.
pub(crate) fn of(network: &str, id: &str) -> Value {
    json!({"NetworkID": network, "EndpointID": id, "SandboxKey": "/run/docker/netns/x", "Options": {}})
}
