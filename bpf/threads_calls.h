/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The harm: socket() and connect() of threads that were left behind in a strange
 * network namespace. Every call is counted in the thread's entry; the ring gets
 * the first few and then one a second.
 */
#ifndef NETNS_TRACE_THREADS_CALLS_H
#define NETNS_TRACE_THREADS_CALLS_H

#include "threads_home.h"

#define MAX_CALLS 1024

#define CALLS_AT_ONCE 8
#define CALLS_EVERY_NS 1000000000ULL

/* The caller's entry if it was left behind in a strange namespace. */
static __always_inline struct away *stranded_caller(void)
{
	struct away *a;
	__u32 tid;
	__u64 id;

	if (!away_count)
		return NULL;
	id = bpf_get_current_pid_tgid();
	if (!*tally_of(away_tally, id >> 32))
		return NULL;
	tid = (__u32)id;
	a = bpf_map_lookup_elem(&away, &tid);
	if (a && (a->left_behind || bpf_ktime_get_ns() - a->since > away_ns))
		return a;
	return NULL;
}

static __always_inline void called(struct away *a, __u32 call, __s32 result, __u32 family,
				   __u32 socket_type, __u32 protocol, void *address, int bytes)
{
	__u64 now = bpf_ktime_get_ns(), calls;
	bool failed = false;

	if (call == CALL_SOCKET)
		a->sockets++;
	else
		a->connects++;
	if (result < 0 && result != -EINPROGRESS) /* what every non-blocking connect answers */
		failed = ++a->failures == 1; /* the first is news, whatever was recorded lately */
	calls = a->sockets + a->connects;
	if (!failed && calls > CALLS_AT_ONCE && now - a->call_recorded < CALLS_EVERY_NS)
		return;
	a->call_recorded = now;

	struct stranded_call_record *r = record_begin(stranded_call_record, RECORD_STRANDED_CALL);

	if (!r)
		return;
	read_thread(&r->thread, (struct task_struct *)bpf_get_current_task());
	r->netns = a->netns;
	r->call = call;
	r->result = result;
	r->sockets = a->sockets;
	r->connects = a->connects;
	r->failures = a->failures;
	r->family = family;
	r->socket_type = socket_type;
	r->protocol = protocol;
	r->address_bytes = 0;
	__builtin_memset(r->address, 0, sizeof(r->address));
	if (address && bytes > 0) {
		__u32 n = bytes;

		if (n > sizeof(r->address))
			n = sizeof(r->address);
		if (bpf_probe_read_user(r->address, n, address) == 0)
			r->address_bytes = n;
		else
			count_loss(LOSS_READ);
	}
	record_end(r);
}

SEC("fexit/__sys_socket")
int BPF_PROG(socket_fexit, int family, int type, int protocol, int result)
{
	struct away *a = stranded_caller();

	if (a)
		called(a, CALL_SOCKET, result, family, type, protocol, NULL, 0);
	return 0;
}

SEC("fexit/__sys_connect")
int BPF_PROG(connect_fexit, int fd, void *address, int bytes, int result)
{
	struct away *a = stranded_caller();

	if (a)
		called(a, CALL_CONNECT, result, 0, 0, 0, address, bytes);
	return 0;
}

/* kretprobes do not see arguments: kept from the entry, for stranded threads only */
struct call {
	__u64 a, b, c;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CALLS);
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

static __always_inline void call_entered(__u64 a, __u64 b, __u64 c)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct call call = { a, b, c };

	if (stranded_caller() && bpf_map_update_elem(&calls, &tid, &call, BPF_ANY))
		count_loss(LOSS_CALLS_FULL);
}

static __always_inline bool call_left(struct call *call)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct call *kept;

	if (!away_count)
		return false;
	kept = bpf_map_lookup_elem(&calls, &tid);
	if (!kept)
		return false;
	*call = *kept;
	bpf_map_delete_elem(&calls, &tid);
	return true;
}

SEC("kprobe/__sys_socket")
int BPF_KPROBE(socket_kprobe, int family, int type, int protocol)
{
	call_entered(family, type, protocol);
	return 0;
}

SEC("kretprobe/__sys_socket")
int BPF_KRETPROBE(socket_kretprobe, int result)
{
	struct away *a = stranded_caller();
	struct call call;

	if (a && call_left(&call))
		called(a, CALL_SOCKET, result, call.a, call.b, call.c, NULL, 0);
	return 0;
}

SEC("kprobe/__sys_connect")
int BPF_KPROBE(connect_kprobe, int fd, void *address, int bytes)
{
	call_entered(fd, (__u64)address, bytes);
	return 0;
}

SEC("kretprobe/__sys_connect")
int BPF_KRETPROBE(connect_kretprobe, int result)
{
	struct away *a = stranded_caller();
	struct call call;

	if (a && call_left(&call))
		called(a, CALL_CONNECT, result, 0, 0, 0, (void *)call.b, call.c);
	return 0;
}

#endif
