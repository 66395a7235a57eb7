// SPDX-License-Identifier: Apache-2.0
/* Threads that are started, that end, and that change namespace. */
#include "ops.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STACK 8192
#define THREADS 50

static char *stacks;
static volatile int running[THREADS]; /* the kernel clears one when its thread is gone */

static int end_at_once(void *unused)
{
	(void)unused;
	return 0;
}

static int wait_for_kill(void *unused)
{
	(void)unused;
	for (;;)
		pause();
	return 0;
}

static void start_thread(int (*run)(void *), unsigned i)
{
	const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
			  CLONE_CHILD_CLEARTID;

	running[i] = 1;
	/* It gets no thread-local storage of its own: what it runs must not touch errno. */
	must(clone(run, stacks + (i + 1) * STACK, flags, NULL, NULL, NULL, &running[i]) > 0, "clone");
}

static void make_stacks(void)
{
	stacks = mmap(NULL, THREADS * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	must(stacks != MAP_FAILED, "mmap");
}

/*
 * In real time, and its threads not: none of them runs before this one waits, so
 * that a start can be counted without the end, and the other way round.
 */
static void in_turn(void)
{
	struct sched_param p = { .sched_priority = 1 };

	make_stacks();
	must(sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &p) == 0, "sched_setscheduler");
}

static void start_threads(unsigned ops)
{
	for (unsigned i = 0; i < ops; i++)
		start_thread(end_at_once, i);
}

static void end_threads(unsigned ops)
{
	for (unsigned i = 0; i < ops; i++) {
		while (running[i]) {
			long err = syscall(SYS_futex, &running[i], FUTEX_WAIT, 1, NULL, NULL, 0);

			must(err == 0 || errno == EAGAIN || errno == EINTR, "futex");
		}
	}
}

/* A thread runs on for a little when this is cleared, and RCU frees it later. */
static void end_and_settle(unsigned ops)
{
	end_threads(ops);
	sleep_ms(20);
}

/*
 * One by one: the kernel keeps two dead threads' stacks for the next. To make new
 * ones takes more or less by 500 instructions a thread, five times what is measured.
 */
const struct workload clone_thread = {
	.name = "clone", .windows = 100, .ops = 1,
	.setup = in_turn, .window = start_threads, .finish = end_and_settle,
};

const struct workload exit_thread = {
	.name = "exit", .windows = 10, .ops = THREADS,
	.setup = in_turn, .prepare = start_threads, .window = end_threads, .settle_ms = 100,
};

static int home, away;

static void open_both(void)
{
	home = open_netns(HOME_NETNS);
	away = open_netns(PEER_NETNS);
}

static void go_and_return(unsigned ops)
{
	while (ops--) {
		enter_netns(away);
		enter_netns(home);
	}
}

const struct workload setns_pair = {
	.name = "setns", .windows = 10, .ops = 2000, .setup = open_both, .window = go_and_return,
};

/* As daemons do it: a thread goes while the process has others. */
static void open_both_threaded(void)
{
	open_both();
	make_stacks();
	start_thread(wait_for_kill, 0);
}

/* A tracer may make a record of each; it gets time to read them before the next window. */
static void pause_for_readers(unsigned ops)
{
	(void)ops;
	sleep_ms(2000);
}

const struct workload setns_pair_threaded = {
	.name = "setns-threaded", .windows = 20, .ops = 100,
	.setup = open_both_threaded, .window = go_and_return, .finish = pause_for_readers,
};
