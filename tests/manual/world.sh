# A machine to try documentation on: what is in /run, /etc and /var/lib, every network namespace, interface and
# process made here is seen by nobody else, and gone with this shell.
#
# Sourced by a shell that `unshare --mount --net --pid --fork --kill-child --mount-proc` has started.
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

# Starts a command that stays, and returns when it has printed this word, or with its failure.
start_until() {
    word=$1
    shift
    mkfifo "/run/out.$word"
    { "$@" || echo "$word: it has ended: $*"; } >"/run/out.$word" &
    exec 8<"/run/out.$word"
    while read -r line <&8; do
        case $line in
        *"it has ended"*) echo "$line"; exit 1 ;;
        *"$word"*) break ;;
        esac
    done
    # Somebody has to read on.
    cat <&8 >/dev/null &
}

# Starts the daemon, and returns when it listens.
start_daemon() {
    mkfifo /run/ready
    { umacvlan daemon --ready-fd 9 "$@" 9>/run/ready || echo "it has ended" >/run/ready; } &
    read -r state </run/ready || true
    case $state in
    *ended*) exit 1 ;;
    esac
}
