//! Fifty containers start at once while the daemon is killed.

use crate::dockerd::Docker;

const COUNT: usize = 50;

#[test]
fn fifty_containers_start_and_end_at_once_though_the_daemon_is_killed() {
    let Some(mut docker) = Docker::new() else { return };
    docker.ok("docker network create -d umacvlan --subnet 10.9.0.0/24 -o parent=p0 net");
    let run = "docker run -d --stop-signal KILL --network net --name";
    let start = format!("seq {COUNT} | xargs -P {COUNT} -I N {run} cN bb");
    docker.ok(&format!("({start}) >/run/started 2>&1 & echo $! >/run/starts"));
    // Kill the daemon in the middle of it.
    docker.ok("until [ $(umacvlan -br link show | wc -l) -ge 10 ]; do :; done");
    docker.machine.end_daemon("KILL");
    docker.start();
    docker.run("wait $(cat /run/starts)");
    // Docker repeats an interrupted call with the name only. Those containers are reported as to be
    // started again. No other failure is allowed.
    let told = docker.ok("grep -c 'Error response' /run/started || true");
    let lost = docker.ok("grep -c 'without its body' /run/started || true");
    assert_eq!(told, lost, "{}", docker.run("cat /run/started; tail -n 40 /run/log").stdout);
    docker.ok("docker ps -aq --filter status=created | xargs -r docker start");
    assert_eq!(docker.taps(), (COUNT, COUNT));

    // The first container reaches every other one by its name.
    let reach = format!(
        "docker exec c1 sh -c 'for n in $(seq 2 {COUNT}); do ping -c 1 -w 5 c$n >/dev/null || echo c$n; done'"
    );
    assert_eq!(docker.ok(&reach), "");
    docker.ok("docker ps -aq | xargs -n 1 -P 50 docker rm -f");
    assert_eq!(docker.taps(), (0, 0));
    docker.clear(&["net"]);
    docker.assert_clean();
}
