/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which frames of a parent are the engine's when its uplink is AF_XDP. What the engine alone is to
 * have goes to its AF_XDP sockets; everything else goes to the host as ever, and of that the engine
 * hears by a packet socket what it wants, too: group frames, those of stations that source mode
 * listens to, and what came by a queue without an AF_XDP socket.
 *
 * `Switch::host_filter_rules` in crates/core decides what is in the maps; crates/sys/src/xdp/program.rs
 * writes them.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define STATIONS 65536
#include "macs.h"

#define QUEUES 64

/* The engine's sockets, by queue. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

/* The bytes of the longest frame that they were opened for. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} longest SEC(".maps");

/*
 * True for a frame that is too long for them. In generic mode a super-frame is one, which a virtual
 * interface hands over whole; the packet socket has it whole, too.
 */
static __always_inline int is_too_long(__u64 len)
{
	const __u32 first = 0;
	const __u32 *most = bpf_map_lookup_elem(&longest, &first);

	return !most || len > *most;
}

/* True for a unicast frame that the host is not to have. */
static __always_inline int is_ours(const struct ethhdr *eth)
{
	return value_at(&owned, 0) || rule(eth->h_dest) & TO || rule(eth->h_source) & FROM;
}

/* What is known of the VLAN of a tag: HOSTS, or that the engine has a switch for that very tag. */
static __always_inline __u32 vlan(__be16 tpid, __u16 tci)
{
	__u32 served = tpid == bpf_htons(ETH_P_8021Q) ? SERVED : SERVED_SERVICE;

	return value_at(&vlans, tci & VLAN_VID_MASK) & (HOSTS | served);
}

/* The same of a frame's outer tag, if it has one. */
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

	if ((const void *)(eth + 1) > end)
		return XDP_PASS;
	of_vlan = outer_vlan(eth, end);
	/* The host has no use for what is in a VLAN of the engine's, not even for group frames. */
	if (!(of_vlan & ~HOSTS) && (eth->h_dest[0] & 1 || of_vlan || !is_ours(eth)))
		return XDP_PASS;
	if (is_too_long(len))
		return XDP_PASS;
	/* The last argument: what to do where the queue has no socket. */
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
}

SEC("xdp")
int umacvlan_uplink(struct xdp_md *ctx)
{
	return uplink(ctx, ctx->data_end - ctx->data);
}

/*
 * The same for drivers that hand a long frame over in several pieces, the headers in the first.
 * Not every driver and kernel takes it.
 */
SEC("xdp.frags")
int umacvlan_pieces(struct xdp_md *ctx)
{
	return uplink(ctx, bpf_xdp_get_buff_len(ctx));
}

/*
 * What has been redirected never comes here, so nothing comes twice. The host's own frames do,
 * where a group of sockets does not heed that they are not wanted.
 */
SEC("socket")
int umacvlan_side(struct __sk_buff *skb)
{
	struct ethhdr eth;

	if (skb->pkt_type == PACKET_OUTGOING)
		return 0;
	if (bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)) < 0)
		return 0;
	if (skb->vlan_present && vlan(skb->vlan_proto, skb->vlan_tci) & ~HOSTS)
		return -1;
	if (eth.h_dest[0] & 1 || rule(eth.h_source) & HEARD || is_ours(&eth))
		return -1;
	return 0;
}

/* None of the helpers that are for GPL programs alone is used here. */
char _license[] SEC("license") = "MIT OR Apache-2.0";
