/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the programs know of a parent's stations. A program says how many there may be at first
 * (STATIONS), and includes this after the headers of the kernel.
 */

/* Bits of a value in `stations`; the same as those of `HostRule` in crates/core. */
#define TO 1    /* unicast to this address is not the host's */
#define FROM 2  /* frames from this address are not */
#define ECHO 4  /* group frames from this address are not */
#define HEARD 8 /* source mode listens to this address */

#define VLAN_VID_MASK 0x0fff
#define VIDS 4096

/* What happens to the frames of one station, by its address in the first six bytes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, STATIONS);
	__type(key, __u64);
	__type(value, __u32);
} stations SEC(".maps");

/* Whether all unicast is the engine's. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} owned SEC(".maps");

/* Bits of a value in `vlans`. */
#define HOSTS 1          /* the host has a device for it: the kernel asks that before macvlan */
#define SERVED 2         /* the engine has a switch for it, with a customer's tag (802.1Q) */
#define SERVED_SERVICE 4 /* the same with a provider's tag outside (802.1ad) */

/* What is known of each VLAN. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VIDS);
	__type(key, __u32);
	__type(value, __u32);
} vlans SEC(".maps");

static __always_inline __u32 rule(const unsigned char *mac)
{
	__u64 key = 0;
	__u32 *bits;

	__builtin_memcpy(&key, mac, ETH_ALEN);
	bits = bpf_map_lookup_elem(&stations, &key);
	return bits ? *bits : 0;
}

static __always_inline __u32 value_at(void *map, __u32 at)
{
	__u32 *value = bpf_map_lookup_elem(map, &at);

	return value ? *value : 0;
}
