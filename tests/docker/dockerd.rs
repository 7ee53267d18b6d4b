//! A machine with a dockerd of its own, whose data is in memory, and with our daemon.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use umacvlan_testkit::{Ran, Sandbox, root_or_skip, skip};

use crate::plugin::DOCKER;

/// The programs that the tests need, all in Debian.
const PROGRAMS: [&str; 5] = ["dockerd", "containerd", "runc", "docker", "busybox"];

/// The machine. Its parent is `p0`, and `q0` is the other end of its wire.
pub(crate) struct Docker {
    pub(crate) machine: Sandbox,
}

impl Docker {
    /// Returns `None`, and says why on standard error, where there is no Docker or too few
    /// privileges.
    pub(crate) fn new() -> Option<Self> {
        if !root_or_skip() {
            return None;
        }
        let missing =
            PROGRAMS.iter().find(|program| Command::new(program).arg("--help").output().is_err());
        if let Some(missing) = missing {
            skip(&format!("there is no {missing}"));
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut machine = Sandbox::new(env!("CARGO_BIN_EXE_umacvlan"));
        // The machine's own cgroups would be hidden, and dockerd has them in one folder of its own.
        machine.ok(&format!("export GROUP=/umacvlan-{}-{number}", std::process::id()));
        machine.script(PREPARE);
        let mut docker = Self { machine };
        docker.start();
        docker.start_dockerd();
        docker.machine.script(IMAGE);
        Some(docker)
    }

    pub(crate) fn start(&mut self) {
        self.machine.daemon(DOCKER);
    }

    /// Starts dockerd, and waits until it answers.
    pub(crate) fn start_dockerd(&mut self) {
        let ran = self.machine.run(DOCKERD);
        let log = || self.machine.path("run/dockerd.log");
        assert_eq!(ran.status, 0, "{}", std::fs::read_to_string(log()).unwrap_or_default());
    }

    /// Ends dockerd with a signal, and waits until it is gone.
    pub(crate) fn end_dockerd(&mut self, signal: &str) {
        let gone = "while kill -0 $PID 2>/dev/null; do sleep 0.01; done; rm -f /run/dockerd.pid";
        self.machine.ok(&format!("PID=$(cat /run/dockerd.pid); kill -s {signal} $PID; {gone}"));
    }

    /// Runs a line of shell, which need not succeed.
    pub(crate) fn run(&mut self, line: &str) -> Ran {
        self.machine.run(line)
    }

    /// Runs a line that must succeed, and returns what it printed.
    pub(crate) fn ok(&mut self, line: &str) -> String {
        let ran = self.machine.run(line);
        if ran.status != 0 {
            let logs = self.machine.run("tail -n 30 /run/dockerd.log /run/log").stdout;
            panic!("{line}: {ran:#?}\n{logs}");
        }
        ran.stdout
    }

    /// Starts containers on the network `net`; each is a word, or several with options before it.
    pub(crate) fn containers(&mut self, containers: &[&str]) {
        for words in containers {
            let name = words.split(' ').next_back().unwrap();
            let options = words.strip_suffix(name).unwrap();
            self.ok(&format!(
                "docker run -d --stop-signal KILL --network net {options} --name {name} bb"
            ));
        }
    }

    /// Removes all containers and the networks of these names.
    pub(crate) fn clear(&mut self, networks: &[&str]) {
        self.ok("docker ps -aq | xargs -r docker rm -f");
        networks.iter().for_each(|network| drop(self.ok(&format!("docker network rm {network}"))));
    }

    /// Every TAP of umacvlan, as the daemon reports it and as the machine has it: links in the
    /// daemon's namespace and in those of containers.
    pub(crate) fn taps(&mut self) -> (usize, usize) {
        let known = self.ok("umacvlan -br link show | wc -l");
        let there = "n=$(ip -br link show type tun | grep -vc ^dm-)
            for ns in /run/docker/netns/*; do
                [ -e $ns ] && n=$((n + $(nsenter --net=$ns ip -br link show type tun | wc -l)))
            done; echo $n";
        let there = self.ok(there);
        (known.trim().parse().unwrap(), there.trim().parse().unwrap())
    }

    /// Asserts that nothing of umacvlan is left: no link, no TAP, no parent, no record.
    pub(crate) fn assert_clean(&mut self) {
        assert_eq!(self.taps(), (0, 0), "{}", self.machine.run("ip a; tail -50 /run/log").stdout);
        assert_eq!(self.ok("umacvlan -j parent show").trim(), "[]");
        assert_eq!(self.ok("ls /run/docker-state"), "lock\n");
        assert_eq!(self.ok("ip -br link | grep -c ^dm- || true").trim(), "0");
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // Its folder of cgroups is the only thing that does not end with the machine.
        let _ = self.machine.run("docker ps -aq | xargs -r docker rm -f");
        let _ = self.machine.run("kill $(cat /run/dockerd.pid)");
        let empty = "until find /sys/fs/cgroup$GROUP -depth -type d -exec rmdir {} + ; do \
                     [ $((n += 1)) -lt 100 ] || break; sleep 0.1; done";
        let _ = self.machine.run(empty);
    }
}

/// A newer docker command, installed elsewhere, does not do everything with Debian's dockerd.
const PREPARE: &str = "mount -t cgroup2 none /sys/fs/cgroup
    mkdir -p /run/data /run/image/bin /run/bin
    [ ! -x /usr/bin/docker ] || ln -s /usr/bin/docker /run/bin/docker
    export PATH=/run/bin:$PATH
    export DOCKER_HOST=unix:///run/docker.sock DOCKER_CONFIG=/run/docker-config
    ip link add p0 up type veth peer name q0
    ip link set q0 up";

/// Starts dockerd, and succeeds once it answers.
pub(crate) const DOCKERD: &str = "dockerd --iptables=false --ip6tables=false --bridge=none --storage-driver vfs \
    --cgroup-parent=$GROUP --data-root /run/data --exec-root /run/docker \
    --pidfile /run/dockerd.pid --host $DOCKER_HOST >>/run/dockerd.log 2>&1 & \
    until docker version >/dev/null 2>&1; do kill -0 $! || break; done; docker version";

/// Builds an image whose containers echo on a port and end at once when they are stopped. A busybox
/// that is linked dynamically has its libraries beside it; ldd prints no path for a static one.
const IMAGE: &str = "for name in $(busybox --list); do ln -sf busybox /run/image/bin/$name; done
    rm -f /run/image/bin/busybox && cp $(command -v busybox) /run/image/bin/busybox
    for file in $(ldd $(command -v busybox) | grep -o '/[^ ]*'); do mkdir -p /run/image${file%/*} && cp -L $file /run/image$file; done
    tar -C /run/image -c . | docker import --change 'CMD [\"nc\", \"-ll\", \"-p\", \"7\", \"-e\", \"cat\"]' - bb";
