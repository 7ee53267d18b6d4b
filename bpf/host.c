/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The host's view of a parent: ends for the host's stack, at tc ingress, the frames that a macvlan
 * in the kernel would have consumed. Packet sockets come before tc, so the engine still has them.
 *
 * `Switch::host_filter_rules` in crates/core decides what is in the maps; crates/sys/src/bpf/host.rs
 * writes them.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#define STATIONS 1024
#include "macs.h"

/* Holds `umacvlan_host`. The kernel empties it when the process that made it has ended. */
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

	/* The host's own group frames on their way back to it. */
	if (skb->pkt_type == PACKET_LOOPBACK)
		return TC_ACT_UNSPEC;
	if (skb->vlan_present && value_at(&vlans, skb->vlan_tci & VLAN_VID_MASK) & HOSTS)
		return TC_ACT_UNSPEC;
	if ((const void *)(eth + 1) > end)
		return TC_ACT_UNSPEC;

	from = rule(eth->h_source);
	if (from & FROM)
		return TC_ACT_SHOT;
	if (eth->h_dest[0] & 1)
		return from & ECHO ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	if (value_at(&owned, 0) || rule(eth->h_dest) & TO)
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
