/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The rules of a parent by unicast MAC address and by VLAN, shared by both programs. A program
 * defines MAX_MACS, the initial size of `macs`, and includes this after the kernel's headers.
 */

/* Bits of a value in `macs`; all but SOURCE_LISTED are those of `HostRule` in crates/core. */
#define UNICAST_TO 1      /* the host does not get unicast to this address */
#define ALL_FROM 2        /* the host gets nothing from this address */
#define REFLECTED_GROUP 4 /* the host does not get multicast and broadcast from this address */
#define SOURCE_LISTED 8   /* a sub-interface in source mode lists this address */
#define SHARED 16         /* the parent's own address, which sub-interfaces share (MAC-NAT) */

#define VLAN_VID_MASK 0x0fff
#define VIDS 4096

/* Rules by unicast address, which is the first six bytes of the key. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_MACS);
	__type(key, __u64);
	__type(value, __u32);
} macs SEC(".maps");

/* 1 while a passthru sub-interface owns the parent: the host gets no unicast. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} all_unicast SEC(".maps");

/* Bits of a value in `vlans`. */
#define HOST_DEVICE 1  /* the host has a VLAN device, which the kernel asks before macvlan */
#define C_TAG_SWITCH 2 /* the engine has a switch for this customer tag (802.1Q) */
#define S_TAG_SWITCH 4 /* the engine has a switch for this service tag (802.1ad) */

/* Rules by VLAN id. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VIDS);
	__type(key, __u32);
	__type(value, __u32);
} vlans SEC(".maps");

static __always_inline __u32 mac_rule(const unsigned char *mac)
{
	__u64 key = 0;
	__u32 *bits;

	__builtin_memcpy(&key, mac, ETH_ALEN);
	bits = bpf_map_lookup_elem(&macs, &key);
	return bits ? *bits : 0;
}

static __always_inline __u32 value_at(void *map, __u32 at)
{
	__u32 *value = bpf_map_lookup_elem(map, &at);

	return value ? *value : 0;
}
