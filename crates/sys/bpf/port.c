/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The port kind veth: plain unicast is answered here, everything else goes to the engine.
 *
 * A sub-interface is one end of a veth pair. The other end, the host end, is in the namespace of the
 * parent, and so is a TAP of the engine's for each pair:
 *
 *   umacvlan_end     ingress of a host end: what the sub-interface sends
 *   umacvlan_wire    ingress of the parent: what comes from the wire
 *   umacvlan_tap     ingress of the TAP: what the engine sends to the sub-interface
 *   umacvlan_uplink  filter of the engine's packet socket, which comes before tc: it leaves out what
 *                    umacvlan_wire answers
 *
 * `Switch::kernel_answers` in crates/core has the rules; crates/sys/src/bpf/port.rs writes them to
 * the maps. Nothing that a host end or a TAP receives reaches the host's own stack.
 */
#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#define MAX_PORTS 4096
#define MAX_ADDRESSES 8192
#define NO_SLOT 0xffffffff

/* Bits of `flags` in a port or an address. */
#define UP 1       /* what the sub-interface sends may have an answer: it is up */
#define BRIDGE 2   /* it is in bridge mode */
#define PRIVATE 4  /* it is in private mode */
#define TARGET 8   /* frames for this address can be answered */
#define AT_HOME 16 /* the sub-interface is in the namespace of the parent */
#define OWN 32     /* the frame is for its own address, not for another one */

/* A sub-interface, by the index of its host end or of its TAP. */
struct port {
	__u32 slot;
	__u32 host_end;
	__u32 tap;
	__u32 flags;
	__u64 mac; /* its own address, as in the key of `addresses` */
};

/* The owner of an address. */
struct address {
	__u32 slot; /* NO_SLOT for a sub-interface of another kind */
	__u32 host_end;
	__u32 flags;
};

/* Bits of `flags` in the rules. */
#define INGRESS 1  /* frames from the wire are answered */
#define ISOLATES 2 /* not those between a private sub-interface and a sibling */

struct rules {
	__u32 parent;
	__u32 flags;
	__u32 longest_local;
	__u32 longest_wire;
	/* The passthru sub-interface that gets everything; NO_SLOT without one. */
	__u32 owner_slot;
	__u32 owner_host_end;
	__u32 owner_flags;
	__u32 unused;
	__u64 owner_mac;
};

/* Frames and bytes that were answered, by sub-interface. */
struct counters {
	__u64 sent_local[2];
	__u64 sent_wire[2];
	__u64 got_local[2];
	__u64 got_wire[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_PORTS);
	__type(key, __u32);
	__type(value, struct port);
} ends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_PORTS);
	__type(key, __u32);
	__type(value, struct port);
} taps SEC(".maps");

/* By address, which is the first six bytes of the key. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_ADDRESSES);
	__type(key, __u64);
	__type(value, struct address);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rules);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_PORTS);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

static __always_inline __u64 mac_key(const unsigned char *mac)
{
	__u64 key = 0;

	__builtin_memcpy(&key, mac, ETH_ALEN);
	return key;
}

static __always_inline struct rules *the_rules(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&rules, &zero);
}

/* As the engine counts: a GSO packet is one frame. */
static __always_inline void count(__u32 slot, __u32 what, __u32 len)
{
	struct counters *at = bpf_map_lookup_elem(&counters, &slot);
	__u64 *pair;

	if (!at)
		return;
	pair = (void *)at + what;
	pair[0] += 1;
	pair[1] += len;
}

/*
 * Gives a frame to a sub-interface. What is for its own address its interface receives at once, as a
 * frame for this machine: the kernel does not look at the address again, and some releases leave the
 * type that the frame has. The kernel refuses that to an interface of its own namespace.
 */
static __always_inline int deliver(struct __sk_buff *skb, __u32 host_end, __u32 flags)
{
	if (flags & AT_HOME || !(flags & OWN))
		return bpf_redirect(host_end, 0);
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	return bpf_redirect_peer(host_end, 0);
}

/* The answer for a unicast frame from the wire, in `to`; false without one. */
static __always_inline bool wire_answer(const unsigned char *macs, struct address *to)
{
	struct rules *all = the_rules();
	struct address *target, *sender;
	__u64 dst = mac_key(macs), src;

	if (!all || !(all->flags & INGRESS) || macs[0] & 1)
		return false;
	if (all->owner_slot != NO_SLOT) {
		to->slot = all->owner_slot;
		to->host_end = all->owner_host_end;
		to->flags = all->owner_flags | (dst == all->owner_mac ? OWN : 0);
		return true;
	}
	target = bpf_map_lookup_elem(&addresses, &dst);
	if (!target || !(target->flags & TARGET))
		return false;
	if (all->flags & ISOLATES) {
		src = mac_key(macs + ETH_ALEN);
		sender = bpf_map_lookup_elem(&addresses, &src);
		if (sender && (sender->flags | target->flags) & PRIVATE &&
		    sender->slot != target->slot)
			return false;
	}
	*to = *target;
	to->flags |= OWN;
	return true;
}

SEC("classifier")
int umacvlan_wire(struct __sk_buff *skb)
{
	const struct ethhdr *eth = (void *)(long)skb->data;
	const void *end = (void *)(long)skb->data_end;
	struct address to;

	if (skb->vlan_present || skb->pkt_type == PACKET_LOOPBACK || (const void *)(eth + 1) > end)
		return TC_ACT_UNSPEC;
	if (!wire_answer(eth->h_dest, &to))
		return TC_ACT_UNSPEC;
	count(to.slot, offsetof(struct counters, got_wire), skb->len);
	return deliver(skb, to.host_end, to.flags);
}

SEC("classifier")
int umacvlan_end(struct __sk_buff *skb)
{
	const struct ethhdr *eth = (void *)(long)skb->data;
	const void *end = (void *)(long)skb->data_end;
	__u32 index = skb->ifindex, bytes = skb->len, len = skb->gso_size ? 0 : bytes;
	struct port *port = bpf_map_lookup_elem(&ends, &index);
	struct rules *all = the_rules();
	struct address *to;
	__u64 dst;

	if (!port || !all)
		return TC_ACT_SHOT;
	if (skb->vlan_present || !(port->flags & UP) || (const void *)(eth + 1) > end ||
	    eth->h_dest[0] & 1)
		return bpf_redirect(port->tap, 0);
	if (port->flags & BRIDGE) {
		dst = mac_key(eth->h_dest);
		to = bpf_map_lookup_elem(&addresses, &dst);
		if (to && to->flags & BRIDGE) {
			if (!(to->flags & TARGET) || !all->longest_local || len > all->longest_local)
				return bpf_redirect(port->tap, 0);
			count(port->slot, offsetof(struct counters, sent_local), bytes);
			count(to->slot, offsetof(struct counters, got_local), bytes);
			return deliver(skb, to->host_end, to->flags | OWN);
		}
	}
	if (!all->parent || len > all->longest_wire)
		return bpf_redirect(port->tap, 0);
	count(port->slot, offsetof(struct counters, sent_wire), bytes);
	return bpf_redirect(all->parent, 0);
}

SEC("classifier")
int umacvlan_tap(struct __sk_buff *skb)
{
	const struct ethhdr *eth = (void *)(long)skb->data;
	const void *end = (void *)(long)skb->data_end;
	__u32 index = skb->ifindex, flags;
	struct port *port = bpf_map_lookup_elem(&taps, &index);

	if (!port || (const void *)(eth + 1) > end)
		return TC_ACT_SHOT;
	flags = port->flags | (mac_key(eth->h_dest) == port->mac ? OWN : 0);
	return deliver(skb, port->host_end, flags);
}

SEC("socket")
int umacvlan_uplink(struct __sk_buff *skb)
{
	unsigned char macs[2 * ETH_ALEN];
	struct address to;

	/* Before Linux 6.2 a group of sockets gets what the machine sends. */
	if (skb->pkt_type == PACKET_OUTGOING)
		return 0;
	if (!skb->vlan_present && skb->pkt_type != PACKET_LOOPBACK &&
	    bpf_skb_load_bytes(skb, 0, macs, sizeof(macs)) == 0 && wire_answer(macs, &to))
		return 0;
	return 0x7fffffff;
}

/* See host.c: no helper here is for GPL programs only. */
char _license[] SEC("license") = "MIT OR Apache-2.0";
