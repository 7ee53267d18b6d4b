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

SEC("classifier")
int umacvlan_host(struct __sk_buff *skb)
{
	const struct ethhdr *eth = (void *)(long)skb->data;
	const void *end = (void *)(long)skb->data_end;
	__u32 from;

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
	if (value_at(&all_unicast, 0) || mac_rule(eth->h_dest) & UNICAST_TO)
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
