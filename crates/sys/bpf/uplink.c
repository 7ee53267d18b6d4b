/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Selects the frames of a parent that an AF_XDP uplink receives. The XDP program redirects frames
 * for the engine alone to its AF_XDP sockets and passes the rest to the host. The socket filter
 * selects the passed frames that the engine receives too, on a packet socket: multicast and
 * broadcast, frames from addresses listed in source mode, frames for the parent's own address if
 * sub-interfaces share it, and frames from a queue without an AF_XDP socket.
 *
 * `Switch::host_filter_rules` in crates/core computes the rules; crates/sys/src/xdp/program.rs
 * writes them to the maps.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_MACS 65536
#include "macs.h"

#define QUEUES 64

/* The engine's AF_XDP sockets, by queue. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

/* Bytes of the longest frame that the sockets accept. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} max_frame SEC(".maps");

/* What the program has seen while `counting` is set. Counts of several CPUs may be lost. */
struct seen {
	__u32 counting;
	__u32 longest; /* bytes */
	__u32 frames;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct seen);
} proof SEC(".maps");

static __always_inline void count(__u64 len)
{
	const __u32 first = 0;
	struct seen *seen = bpf_map_lookup_elem(&proof, &first);

	if (!seen || !seen->counting)
		return;
	seen->frames++;
	if (len > seen->longest)
		seen->longest = len;
}

/*
 * True for a frame that is too long for the sockets. In generic mode GSO packets are: a virtual
 * interface passes them whole, and the packet socket receives them whole.
 */
static __always_inline int is_too_long(__u64 len)
{
	const __u32 first = 0;
	const __u32 *most = bpf_map_lookup_elem(&max_frame, &first);

	return !most || len > *most;
}

/* True for a unicast frame that the host does not get. */
static __always_inline int is_ours(const struct ethhdr *eth)
{
	return value_at(&all_unicast, 0) || mac_rule(eth->h_dest) & UNICAST_TO ||
	       mac_rule(eth->h_source) & ALL_FROM;
}

/*
 * HOST_DEVICE if the host has a device for the VLAN; C_TAG_SWITCH or S_TAG_SWITCH if the engine has a
 * switch for this tag.
 */
static __always_inline __u32 vlan(__be16 tpid, __u16 tci)
{
	__u32 switched = tpid == bpf_htons(ETH_P_8021Q) ? C_TAG_SWITCH : S_TAG_SWITCH;

	return value_at(&vlans, tci & VLAN_VID_MASK) & (HOST_DEVICE | switched);
}

/* The same for a frame's outer tag; 0 for an untagged frame. */
static __always_inline __u32 outer_vlan(const struct ethhdr *eth, const void *end)
{
	const __be16 *tci = (const void *)(eth + 1);

	if (eth->h_proto != bpf_htons(ETH_P_8021Q) && eth->h_proto != bpf_htons(ETH_P_8021AD))
		return 0;
	if ((const void *)(tci + 1) > end)
		return 0;
	return vlan(eth->h_proto, bpf_ntohs(*tci));
}

static __always_inline int uplink(struct xdp_md *ctx, __u64 len)
{
	const struct ethhdr *eth = (void *)(long)ctx->data;
	const void *end = (void *)(long)ctx->data_end;
	__u32 of_vlan;

	count(len);
	if ((const void *)(eth + 1) > end)
		return XDP_PASS;
	of_vlan = outer_vlan(eth, end);
	/* The engine takes every frame of a VLAN that it has a switch for, multicast included. */
	if (!(of_vlan & ~HOST_DEVICE) && (eth->h_dest[0] & 1 || of_vlan || !is_ours(eth)))
		return XDP_PASS;
	if (is_too_long(len))
		return XDP_PASS;
	/* The last argument is the verdict for a queue without a socket. */
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
}

SEC("xdp")
int umacvlan_uplink(struct xdp_md *ctx)
{
	return uplink(ctx, ctx->data_end - ctx->data);
}

/*
 * The same for drivers that pass a long frame in several buffers (xdp.frags), with the headers in
 * the first. Not every driver and kernel supports it.
 */
SEC("xdp.frags")
int umacvlan_pieces(struct xdp_md *ctx)
{
	return uplink(ctx, bpf_xdp_get_buff_len(ctx));
}

/*
 * The filter of the packet socket. Redirected frames never get here, so the engine receives no
 * frame twice. The host's own frames do get here: a fanout group ignores PACKET_IGNORE_OUTGOING.
 */
SEC("socket")
int umacvlan_side(struct __sk_buff *skb)
{
	struct ethhdr eth;

	if (skb->pkt_type == PACKET_OUTGOING)
		return 0;
	if (bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)) < 0)
		return 0;
	if (skb->vlan_present && vlan(skb->vlan_proto, skb->vlan_tci) & ~HOST_DEVICE)
		return -1;
	if (eth.h_dest[0] & 1 || mac_rule(eth.h_source) & SOURCE_LISTED || is_ours(&eth))
		return -1;
	/* Host and engine get it; the host filter and the engine know by its IP address whose it is. */
	if (mac_rule(eth.h_dest) & SHARED)
		return -1;
	return 0;
}

/* See host.c: no GPL-only helper is used. */
char _license[] SEC("license") = "MIT OR Apache-2.0";
