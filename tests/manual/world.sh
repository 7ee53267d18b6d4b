# A machine to try documentation on: what is in /run, /etc and /var/lib, every network namespace, interface and
# process made here is seen by nobody else, and gone with this shell.
#
# Sourced by a shell that `unshare --mount --net --pid --fork --kill-child --mount-proc` has started.
# It is what the documentation expects of a machine, and no more: the commands get no other help.
set -eu

mount --make-rprivate /
mount -t tmpfs tmpfs /run
cp -a /etc /run/etc
mount --bind /run/etc /etc
mount -t tmpfs tmpfs /var/lib
mkdir -p /etc/umacvlan /run/netns /run/umacvlan
cp "$ROOT/dist/umacvlan.toml" /etc/umacvlan/umacvlan.toml
echo umacvlan:x:64000: >>/etc/group
mkdir /run/home
cd /run/home

ip link set lo up
for nic in eth0 eth1 enp0s8; do
    ip link add $nic type veth peer name wire-$nic
    ip link set $nic up
    ip link set wire-$nic up
done

# Another host on the wire, which sends broadcasts.
ip addr add 198.51.100.1/24 dev wire-eth0
ping -q -b -i 0.05 198.51.100.255 >/dev/null 2>&1 &
