//! The usage texts.

use umacvlan_core::MacvlanFlag;
use umacvlan_core::limit::LimitWord;
use umacvlan_core::rules::RuleWord;

use super::error::{CommandError, USAGE};

pub(super) fn usage() -> CommandError {
    CommandError::new(USAGE, OVERVIEW)
}

pub(super) fn link_usage() -> CommandError {
    CommandError::new(USAGE, format!("{LINK}\n{}\n{LINK_EXAMPLES}", macvlan()))
}

pub(super) fn parent_usage() -> CommandError {
    CommandError::new(USAGE, PARENT)
}

pub(super) fn monitor_usage() -> CommandError {
    CommandError::new(USAGE, MONITOR)
}

/// The end of clap's help.
pub(crate) const OBJECTS: &str = "\
Objects of the running daemon, with the words of ip(8):
  link     Make, change, show and remove sub-interfaces (umacvlan link help)
  parent   Show the interfaces below them (umacvlan parent help)
  monitor  Show what happens, as it happens (umacvlan monitor help)

Options before an object, as of ip(8): -s counters, -d details, -j JSON, -p pretty, -br brief, -o a line
each, -n NETNS, -batch FILE, -ts time, -c colour

Examples:
  umacvlan link add link eth0 mac1 type macvlan mode bridge
  umacvlan link set mac1 netns blue
  umacvlan -s link show";

const OVERVIEW: &str = "\
Usage: umacvlan [OPTIONS] OBJECT [COMMAND]
       umacvlan [-force] -batch FILE
       umacvlan --help                   (daemon, configuration, lab and the rest)

Objects, of the running daemon; help after each tells more:
  link       sub-interfaces: make, change, show, remove
  parent     the interfaces below them
  monitor    what happens, as it happens

Options, before the object; as of ip(8), any beginning will do:
  -s[tatistics]     with counters; twice for more of them
  -d[etails]        with everything that is known
  -j[son] -p[retty] as JSON, for people
  -br[ief]          a line each, in columns
  -o[neline]        a line each
  -h[uman] -iec     short numbers, in powers of 1000 or 1024
  -N[umeric]        numbers instead of names
  -n[etns] NS       in this namespace: a name, a path or the id of a process
  -t[imestamp] -ts  with the time, where something happens
  -c[olor][=WHEN]   colours: always, auto or never
  -b[atch] FILE     commands from a file, a line each; \"-\" is standard input
  -force            go on after a line that failed
  --socket PATH     where the daemon listens (also: UMACVLAN_SOCKET)
  -V[ersion]";

const LINK: &str = "\
Usage: umacvlan link add link PARENT [dev|name] NAME [WORDS] type macvlan [PORT] [MACVLAN]
       umacvlan link add link PARENT [dev|name] NAME [WORDS] type macvtap [PORT] [MACVLAN]
       umacvlan link set [dev] NAME [WORDS] [type macvlan MACVLAN]
       umacvlan link del [dev] NAME
       umacvlan link [show] [[dev] NAME] [parent PARENT] [type KIND] [up]

WORDS: address MAC         its address; a random one if a new link is given none
       mtu BYTES           at most the parent's
       txqueuelen FRAMES   frames that may wait
       netns NS            its namespace: a name, a path or the id of a process
       name NAME           its name
       alias TEXT          a remark, empty for none
       promisc on|off      hear everything
       allmulticast on|off hear every group
       up, down            its state

PORT:  port tap|veth|auto  macvlan: who forwards plain unicast, the daemon or the kernel
       port vhost-user     macvtap: a program, by rings in its memory; without a word as well
       port stream         macvtap: a program, by a stream of frames
       port dgram          macvtap: a program, by a datagram for each frame
       port tap            macvtap: a program, by a TAP that is made for it
       port dev NAME       macvtap: a program behind an interface that is there
       client PATH         its program listens there, and the daemon connects
       user USER           who owns its socket or TAP; the daemon's user
       group GROUP         who may connect beside that; nobody
";

/// The words after `type macvlan`, shown with an error in them.
pub(super) fn macvlan() -> String {
    let flags =
        MacvlanFlag::ALL.map(|flag| format!("         {:18} {}", flag.name(), flag.summary()));
    let limits = LimitWord::ALL.map(|word| {
        let words = format!("{} {}", word.name, word.value);
        format!("         {words:18} {}", word.summary)
    });
    let rules = RuleWord::ALL.map(|word| {
        let words = match word.is_list() {
            true => format!("{} add {}", word.name(), word.value()),
            false => format!("{} {}", word.name(), word.value()),
        };
        format!("         {words:31} {}", word.summary())
    });
    let names = MacvlanFlag::KERNEL.map(MacvlanFlag::name);
    format!(
        "{MACVLAN}\n{}\n         flag {}|null   the same, or none\n{QUEUE}\n{}\n{}\n{LISTS}",
        flags.join("\n"),
        names.join("|"),
        limits.join("\n"),
        rules.join("\n")
    )
}

const LISTS: &str =
    "         of these lists: add, del, set [VALUE ...] or flush; an empty one allows everything";

const MACVLAN: &str = "\
MACVLAN: mode private|vepa|bridge|passthru|source   vepa if a new link is given none
         macaddr add MAC, del MAC, set [MAC ...], flush   source: the stations it hears";

const QUEUE: &str = "         bcqueuelen FRAMES  group frames that may wait
         bclim N            how many links a group may have before its frames wait
         macnat on          of the first link: all links of the parent send with its address
         dhcp on            of a new link: its address is from a DHCP server
         dhcp_client_id TEXT, dhcp_hostname NAME   who it is to that server
         host IP[,IP...]|off   the host reaches it there; host_address IP: the host's own address";

const LINK_EXAMPLES: &str = "
Examples:
  umacvlan link add link eth0 mac1 type macvlan mode bridge
  umacvlan link set mac1 netns blue
  umacvlan -n blue link set mac1 name eth0 up
  umacvlan -d -s link show type macvlan
  umacvlan link set mac2 type macvlan mode source macaddr add 02:00:5e:10:00:01
  umacvlan link del mac1

Options before link, as of ip(8): -s -d -j -p -br -o -n -batch -ts -c (umacvlan --help)";

const PARENT: &str = "\
Usage: umacvlan parent [show] [[dev] NAME]

Shows the interfaces that carry links, and how busy the worker of each is.
  -d  adds how each is served, and with macnat the IP addresses of links, -s its counters; -j is
      everything as JSON

Examples:
  umacvlan parent
  umacvlan -s parent show eth0";

const MONITOR: &str = "\
Usage: umacvlan monitor [link]

Shows links as they come, change, move and go, and what happens to their parents, until
interrupted.
  -t, -ts  with the time, -d with details, -j as one JSON object a line

Examples:
  umacvlan -ts monitor
  umacvlan -j monitor | jq .event";
