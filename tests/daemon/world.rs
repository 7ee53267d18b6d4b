//! A namespace with a parent in it, and a daemon at work there.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use umacvlan_netlink::Rtnl;
use umacvlan_sys::netns::Netns;

/// How long anything may take before the test has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A daemon in a namespace in which `p0`, a veth whose other end is `q0`, may be a parent. It ends
/// with this.
pub(crate) struct World {
    pub(crate) directory: PathBuf,
    /// Lives as long as this, and the interfaces in it.
    netns: Netns,
    daemon: Option<Child>,
}

impl World {
    /// Starts a daemon with these words beside those for its files.
    pub(crate) fn new(words: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("umacvlan-http-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        // Users other than root come here, too.
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        fs::write(directory.join("umacvlan.toml"), "").unwrap();

        let netns = Netns::create().unwrap();
        let mut rtnl = Rtnl::open_in(&netns).unwrap();
        rtnl.add_veth("p0", "q0", None).unwrap();
        for name in ["p0", "q0"] {
            let index = rtnl.link(name).unwrap().unwrap().index;
            rtnl.set_up(index, true).unwrap();
        }
        let mut world = Self { directory, netns, daemon: None };
        world.start(words);
        world
    }

    /// Starts the daemon and returns when it is ready.
    fn start(&mut self, words: &[&str]) {
        let mut command = Command::new("sh");
        // Descriptor 3 is where it says that it is ready.
        command.args(["-c", "exec \"$0\" daemon --ready-fd 3 \"$@\" 3>&1"]);
        command.arg(env!("CARGO_BIN_EXE_umacvlan")).args(words).stdout(Stdio::piped());
        for (option, file) in
            [("--socket", "socket"), ("--state", "state"), ("--config", "umacvlan.toml")]
        {
            command.arg(option).arg(self.directory.join(file));
        }
        let daemon = self.netns.run(|| command.spawn()).unwrap().unwrap();
        let daemon = self.daemon.insert(daemon);
        let mut line = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the daemon has ended: {:?}", daemon.wait());
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Links outlive the daemon, but not the namespace.
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}
