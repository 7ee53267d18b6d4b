//! The block of the documentation that begins with a daemon and ends with a container, as it stands.

use std::fs;

use crate::dockerd::Docker;

#[test]
fn the_first_docker_block_of_the_documentation_works() {
    let (readme, page) = (block("README.md"), block("docs/docker.md"));
    assert_eq!(readme, page, "README.md and docs/docker.md differ");
    let Some(mut docker) = Docker::new() else { return };
    docker.machine.end_daemon("TERM");
    docker.machine.script(
        "mount -t tmpfs none /var/lib
        ip link add eth0 up type veth peer name wire
        ip link set wire up
        docker tag bb busybox",
    );
    docker.machine.file("run/block", &page);
    let printed = docker.ok("sh -e /run/block");
    assert!(printed.contains("inet 192.0.2.2/24"), "{printed}");
}

/// The block of a page in which a container is run.
fn block(page: &str) -> String {
    let text = fs::read_to_string(format!("{}/{page}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.find(|block| block.contains("docker run")).expect(page).to_owned()
}
