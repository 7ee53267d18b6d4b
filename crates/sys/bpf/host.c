/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The host filter of a parent: drops at tc ingress, for the host's stack only, the frames that the
 * kernel's macvlan would have consumed. Packet sockets come before tc, so the engine still gets
 * them.
 *
 * `Switch::host_filter_rules` in crates/core computes the rules; crates/sys/src/bpf/host.rs writes
 * them to the maps.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_MACS 1024
#include "macs.h"

/* Holds `umacvlan_host` or `umacvlan_no_host`. The kernel empties it when the process that created it ends. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} programs SEC(".maps");

/* Where a frame has the IP address that it is for. */
#define IPV4_TARGET (ETH_HLEN + 16)
#define IPV6_TARGET (ETH_HLEN + 24)
#define ARP_TARGET (ETH_HLEN + 24)

/* An IP address; an IPv4 address is the last word, behind ::ffff. */
union address {
	__u32 words[4];
	__u64 halves[2];
};

#define BUCKETS 1024
#define BUCKET_SIZE 16

struct bucket {
	union address addresses[BUCKET_SIZE];
};

/*
 * The IP addresses of sub-interfaces that share the parent's own MAC address, each in the bucket of its
 * hash; zero is a free place. The engine's worker writes them by mmap, before the first frame from a new
 * address leaves (crates/sys/src/bpf/shared_addresses.rs). It has one bucket where none is shared.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, BUCKETS);
	__type(key, __u32);
	__type(value, struct bucket);
} shared_ips SEC(".maps");

/* Random, so that nobody can choose addresses that fill a bucket. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} seed SEC(".maps");

/* A product depends on lower bits only, so its upper half is folded in, and that twice. */
static __always_inline __u64 mixed(__u64 hash, __u64 half)
{
	hash = (hash ^ half) * 0x9e3779b97f4a7c15ULL;
	hash = (hash ^ hash >> 32) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 32;
}

static __always_inline int is_shared(const union address *address)
{
	const __u32 first = 0;
	const __u64 *random = bpf_map_lookup_elem(&seed, &first);
	const struct bucket *bucket;
	__u32 at;
	int i;

	if (!random)
		return 0;
	at = mixed(mixed(*random, address->halves[0]), address->halves[1]) % BUCKETS;
	bucket = bpf_map_lookup_elem(&shared_ips, &at);
	if (!bucket)
		return 0;
#pragma unroll
	for (i = 0; i < BUCKET_SIZE; i++)
		if (bucket->addresses[i].halves[0] == address->halves[0] &&
		    bucket->addresses[i].halves[1] == address->halves[1])
			return 1;
	return 0;
}

/* True for a frame whose IP address is that of a sub-interface. */
static __always_inline int is_for_sub(struct __sk_buff *skb, __be16 protocol)
{
	union address to = { .words = { 0, 0, bpf_htonl(0xffff), 0 } };
	long failed;

	if (protocol == bpf_htons(ETH_P_IP))
		failed = bpf_skb_load_bytes(skb, IPV4_TARGET, &to.words[3], 4);
	else if (protocol == bpf_htons(ETH_P_ARP))
		failed = bpf_skb_load_bytes(skb, ARP_TARGET, &to.words[3], 4);
	else if (protocol == bpf_htons(ETH_P_IPV6))
		failed = bpf_skb_load_bytes(skb, IPV6_TARGET, &to, sizeof(to));
	else
		return 0;
	return !failed && is_shared(&to);
}

SEC("classifier")
int umacvlan_host(struct __sk_buff *skb)
{
	const struct ethhdr *eth = (void *)(long)skb->data;
	const void *end = (void *)(long)skb->data_end;
	__be16 protocol;
	__u32 from, to;

	/* The host's own multicast and broadcast frames, looped back to it. */
	if (skb->pkt_type == PACKET_LOOPBACK)
		return TC_ACT_UNSPEC;
	if (skb->vlan_present && value_at(&vlans, skb->vlan_tci & VLAN_VID_MASK) & HOST_DEVICE)
		return TC_ACT_UNSPEC;
	if ((const void *)(eth + 1) > end)
		return TC_ACT_UNSPEC;

	from = mac_rule(eth->h_source);
	if (from & ALL_FROM)
		return TC_ACT_SHOT;
	if (eth->h_dest[0] & 1)
		return from & REFLECTED_GROUP ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	to = mac_rule(eth->h_dest);
	protocol = eth->h_proto;
	if (value_at(&all_unicast, 0) || to & UNICAST_TO)
		return TC_ACT_SHOT;
	if (to & SHARED && is_for_sub(skb, protocol))
		return TC_ACT_SHOT;
	return TC_ACT_UNSPEC;
}

/* At the interface of a link whose far end is a program: the host's stack gets nothing of it. */
SEC("classifier")
int umacvlan_no_host(struct __sk_buff *skb)
{
	(void)skb;
	return TC_ACT_SHOT;
}

/*
 * Attached where a filter outlives its process (clsact, before Linux 6.6). Once the process has
 * ended the tail call finds no program, and the host gets every frame.
 */
SEC("classifier")
int umacvlan_gate(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &programs, 0);
	return TC_ACT_UNSPEC;
}

/*
 * The kernel requires a GPL-compatible license only for GPL-only helpers. This program uses none,
 * so the license is that of the source files.
 */
char _license[] SEC("license") = "MIT OR Apache-2.0";
