/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NETNS_TRACE_LOSS_H
#define NETNS_TRACE_LOSS_H

/* What could not be recorded, and why: indexes of the map `losses`. */
enum loss {
	LOSS_RING_FULL,    /* no room in the ring buffer */
	LOSS_AWAY_FULL,    /* more threads away than the map holds */
	LOSS_HOMES_FULL,   /* more processes than the map holds */
	LOSS_WAITING_FULL, /* more devices in unregistration than the map holds */
	LOSS_CALLS_FULL,   /* more calls in flight than the map holds (kretprobe way only) */
	LOSS_KERNEL_STACK, /* the kernel gave no kernel stack */
	LOSS_USER_STACK,   /* the kernel gave no user stack */
	LOSS_STACK_CUT,    /* a kernel stack was deeper than STACK_DEPTH; user stacks often are */
	LOSS_REWRITES_FULL, /* more devices that rewrite than the map holds */
	LOSS_READ,         /* memory that should be readable was not */
	LOSS_HOLDERS_FULL, /* more objects that hold devices than the map has room for */
	LOSS_STACK_SKIPPED, /* no stack was taken: too many objects in a second */
	LOSS_TEXT_CUT,     /* a kernel message was longer than its record's text */
	LOSS_ENTRIES_FULL, /* more dst entries than the map holds: where they are released is not seen */
	LOSS_LEDGERS_FULL, /* more dst_ops than the map holds */
	LOSS_CROSSINGS_FULL, /* more pairs of dst_ops with crossings than the map holds */
	LOSS_FAILURES_FULL,  /* more dst_ops with failures, or calls in flight, than the map holds */
	LOSS_DEVICES_FULL,   /* more devices than the ledger of references has room for */
	LOSS_TRACES_FULL,    /* more call traces of references than the map holds; they are still counted */
	LOSS_SITE_UNKNOWN,   /* a hit at an address that is no site, or no longer */
	LOSS_TRACES_BUSY,    /* the kernel would not add a call trace just then; it is still counted */
	LOSS_CAUSES,
	LOSS_ROOM = 32, /* for each CPU in the map `losses` */
};

#endif
