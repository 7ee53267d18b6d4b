//! What the words of a key mean, for titles of charts and tables.

use super::report::Key;

/// The measure of a point, as the beginning of a title.
pub(super) fn measure(measure: &str) -> String {
    let known = match measure {
        "cost" => "Time for each frame",
        "cost-forwarder" => "Time for each frame in the worker",
        "cost-read" => "Time to read a frame from a ring",
        "cost-write" => "Time to write a frame to a ring",
        "cpu" => "Processor time of the machine for each 1000 bytes",
        "idle-cpu" => "Processor time while idle",
        "latency" => "Latency",
        "latency-10" => "Latency at 10 % of the rate with little loss",
        "latency-50" => "Latency at 50 % of the rate with little loss",
        "latency-90" => "Latency at 90 % of the rate with little loss",
        "latency-calm" => "99th percentile of latency without a storm",
        "latency-idle" => "Latency at 1000 frames/s",
        "latency-storm" => "99th percentile of latency in a broadcast storm",
        "mrr" => "Frames received at full load",
        "ndr" => "Highest rate without loss",
        "pdr" => "Highest rate with at most 0.5 % loss",
        "rtt" => "Round-trip time",
        "throughput" => "Throughput of one stream",
        "uplink" => "Frames received by the uplink alone",
        _ => {
            let neighbour = measure.strip_prefix("neighbour-").map(beside);
            let queue = || measure.strip_prefix("queue-").and_then(queued);
            return neighbour.or_else(queue).unwrap_or_else(|| measure.to_owned());
        }
    };
    known.to_owned()
}

/// The distribution of whose percentiles a measure is one, as the beginning of a title.
pub(super) fn distribution(name: &str) -> String {
    let words = measure(name);
    match words.strip_prefix("99th percentile of ") {
        Some(rest) => {
            let (first, others) = rest.split_at(rest.len().min(1));
            format!("{}{others}", first.to_uppercase())
        }
        None => words,
    }
}

/// The title of round trips beside this neighbour.
fn beside(neighbour: &str) -> String {
    let (kind, loaded) = match neighbour.strip_suffix("-loaded") {
        Some(kind) => (kind, ", with two busy loops"),
        None => (neighbour, ""),
    };
    let kind = match kind {
        "calm" => "nobody",
        "gso" => "a sender of broadcast GSO packets",
        "small" => "a sender of 60-byte frames",
        "udp" => "a sender of UDP datagrams",
        other => other,
    };
    format!("99th percentile of round trips beside {kind}{loaded}")
}

/// The title of a measure with a queue: `200m-8-other`, `1g-shared-least`.
fn queued(name: &str) -> Option<String> {
    let mut words = name.splitn(3, '-');
    let (rate, streams, what) = (words.next()?, words.next()?, words.next()?);
    let queue = match rate {
        "200m" => "a queue of 200 Mbit/s",
        "1g" => "a queue of 1 Gbit/s",
        _ => return None,
    };
    let streams = match streams {
        "1" => "one TCP stream",
        "8" => "eight TCP streams",
        "shared" => "TCP streams of four sub-interfaces",
        _ => return None,
    };
    let trips = match what {
        "goodput" => return Some(format!("Goodput of {streams} through {queue}")),
        "retransmits" => {
            return Some(format!("Segments that {streams} sent again through {queue}"));
        }
        "least" => return Some(format!("Share of the slowest of {streams} through {queue}")),
        "other" => "of another sub-interface",
        "same" => "of the same sub-interface",
        "wire" => "from the wire",
        _ => return None,
    };
    Some(format!("99th percentile of round trips {trips} beside {streams} through {queue}"))
}

/// The path of a key.
pub(super) fn path(path: &str) -> &str {
    match path {
        "decision" => "decision in memory",
        "hairpin" => "between sub-interfaces through a hairpin switch",
        "memory" => "from port to port in memory",
        "program-to-program" => "between programs",
        "sub-to-sub" => "between sub-interfaces",
        "sub-to-wire" => "sub-interface to wire",
        "wire-to-sub" => "wire to sub-interface",
        other => other,
    }
}

/// The traffic of a key, with the size of its frames if all points of a chart have it.
pub(super) fn traffic(key: &Key, with_size: bool) -> String {
    let traffic = match key.traffic.as_str() {
        "broadcast" => "broadcast frames",
        "from-wire" => "frames from the wire",
        "imix" => "IMIX",
        "local" => "frames between sub-interfaces",
        "multicast-filtered" => "multicast frames that are filtered",
        "none" => "no traffic",
        "request" => "UDP requests",
        "source-hit" => "frames from listed sources",
        "source-miss" => "frames from other sources",
        "tcp" => "TCP",
        "tcp-mtu" => "TCP in frames of the MTU",
        "to-wire" => "frames to the wire",
        "udp" => "UDP datagrams",
        "unknown" => "frames to unknown addresses",
        "unicast" => "unicast frames",
        other => other,
    };
    match key.size.filter(|_| with_size) {
        Some(size) => format!("{traffic} of {size} bytes"),
        None => traffic.to_owned(),
    }
}

/// A number of sub-interfaces.
pub(super) fn subs(subs: u32) -> String {
    format!("{subs} sub-interface{}", if subs == 1 { "" } else { "s" })
}

/// What an axis of values with this unit shows.
pub(super) fn quantity(unit: &str) -> &'static str {
    match unit {
        "%" | "ns/kB" => "processor time",
        "bit/s" => "throughput",
        "copies" => "copies received for each frame sent",
        "of an equal share" => "share",
        "ratio" => "ratio to kernel macvlan",
        "segments" => "segments sent again",
        "frames/s" => "rate",
        "ns/frame" => "time for each frame",
        "ms" | "ns" | "s" | "us" => "time",
        _ => "value",
    }
}

/// A unit as it is printed: `µs` for `us`.
pub(super) fn printed(unit: &str) -> String {
    match unit.strip_prefix('u') {
        Some(rest) if rest.starts_with('s') => format!("µ{rest}"),
        _ => unit.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_told_in_words() {
        assert_eq!(
            measure("neighbour-udp-loaded"),
            "99th percentile of round trips beside a sender of UDP datagrams, with two busy loops"
        );
        assert_eq!(measure("neighbour-calm"), "99th percentile of round trips beside nobody");
        assert_eq!(distribution("neighbour-calm"), "Round trips beside nobody");
        assert_eq!([measure("later"), distribution("later")], ["later", "later"]);
    }

    #[test]
    fn measures_with_a_queue_are_told_in_words() {
        assert_eq!(
            distribution("queue-200m-8-other"),
            "Round trips of another sub-interface beside eight TCP streams through a queue of 200 \
             Mbit/s"
        );
        assert_eq!(
            measure("queue-1g-shared-least"),
            "Share of the slowest of TCP streams of four sub-interfaces through a queue of 1 Gbit/s"
        );
        for later in ["queue-", "queue-2g-1-goodput", "queue-1g-2-goodput", "queue-1g-1-later"] {
            assert_eq!(measure(later), later);
        }
    }

    #[test]
    fn microseconds_are_printed_with_their_letter() {
        assert_eq!(
            ["us", "us/frame", "copies", "units"].map(printed),
            ["µs", "µs/frame", "copies", "units"]
        );
    }
}
