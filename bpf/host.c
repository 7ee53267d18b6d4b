/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The host's view of a parent: ends for the host's stack, at tc ingress, the frames that a macvlan
 * in the kernel would have consumed. Packet sockets come before tc, so the engine still has them.
 *
 * `Switch::host_view` in crates/core decides what is in the maps; crates/engine/src/sys/bpf/host.rs
 * writes them.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

/* Bits of a value in `stations`; the same as those of `HostRule` in crates/core. */
#define TO 1   /* unicast to this address is consumed */
#define FROM 2 /* every frame from this address is consumed */
#define ECHO 4 /* a group frame from this address is consumed */

#define VLAN_VID_MASK 0x0fff
#define VIDS 4096

/* What happens to the frames of one station, by its address in the first six bytes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u32);
} stations SEC(".maps");

/* Whether all unicast is consumed. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} owned SEC(".maps");

/* The VLANs that the host has a device for: the kernel asks it before it asks macvlan. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VIDS);
	__type(key, __u32);
	__type(value, __u32);
} vlans SEC(".maps");

/* Holds `umacvlan_host`. The kernel empties it when the process that made it has ended. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} programs SEC(".maps");

static __always_inline __u32 rule(const unsigned char *mac)
{
	__u64 key = 0;
	__u32 *bits;

	__builtin_memcpy(&key, mac, ETH_ALEN);
	bits = bpf_map_lookup_elem(&stations, &key);
	return bits ? *bits : 0;
}

static __always_inline int is_set(void *map, __u32 at)
{
	__u32 *value = bpf_map_lookup_elem(map, &at);

	return value && *value;
}

SEC("classifier")
int umacvlan_host(struct __sk_buff *skb)
{
	const struct ethhdr *eth = (void *)(long)skb->data;
	const void *end = (void *)(long)skb->data_end;
	__u32 from;

	/* The host's own group frames on their way back to it. */
	if (skb->pkt_type == PACKET_LOOPBACK)
		return TC_ACT_UNSPEC;
	if (skb->vlan_present && is_set(&vlans, skb->vlan_tci & VLAN_VID_MASK))
		return TC_ACT_UNSPEC;
	if ((const void *)(eth + 1) > end)
		return TC_ACT_UNSPEC;

	from = rule(eth->h_source);
	if (from & FROM)
		return TC_ACT_SHOT;
	if (eth->h_dest[0] & 1)
		return from & ECHO ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	if (is_set(&owned, 0) || rule(eth->h_dest) & TO)
		return TC_ACT_SHOT;
	return TC_ACT_UNSPEC;
}

/*
 * Attached where a filter outlives its process (clsact, before Linux 6.6): without a process it
 * finds nothing to call, and every frame is the host's.
 */
SEC("classifier")
int umacvlan_gate(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &programs, 0);
	return TC_ACT_UNSPEC;
}

/*
 * The kernel asks whether this is compatible with the GPL only for helpers that are for such
 * programs alone. None is used here, so it says what the files say.
 */
char _license[] SEC("license") = "MIT OR Apache-2.0";
