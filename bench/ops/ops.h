// SPDX-License-Identifier: Apache-2.0
// The workloads that tracing is measured on.
#ifndef OPS_H
#define OPS_H

#include <stdbool.h>

struct workload {
	const char *name;
	unsigned windows;
	unsigned ops; /* in one window */
	void (*setup)(void); /* may be NULL */
	void (*prepare)(unsigned ops); /* before each window, not counted; may be NULL */
	void (*window)(unsigned ops); /* counted */
	void (*finish)(unsigned ops); /* after each window, not counted; may be NULL */
	/*
	 * The kernel does a part of the work later, in RCU callbacks and worker
	 * threads: sleep this long at the end of the window, and count what runs. With 0
	 * the window must not sleep.
	 */
	unsigned settle_ms;
};

extern const struct workload udp, connect_multicast, dst_life, reference;
extern const struct workload clone_thread, exit_thread, setns_pair, setns_pair_threaded;
extern const struct workload life;

/* Ends the program with the message and errno's text unless ok. */
void must(bool ok, const char *what);
void sleep_ms(unsigned ms);
int open_netns(const char *path);
void enter_netns(int fd);

#define PEER_NETNS "/run/netns/bench"
#define HOME_NETNS "/proc/self/ns/net"

#endif
