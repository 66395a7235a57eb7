// SPDX-License-Identifier: Apache-2.0

/*
 * The reaper deletes the kprobe events of one group, once the process that defined
 * them has closed them or has died. Deleting waits for RCU at each probe, seconds in
 * all, so nobody shall have to wait for it; and who was killed cannot do it at all.
 *
 * It is a program of its own, of one page and without a library, so that what stays
 * behind is not a copy of its parent's memory.
 *
 * argv[1] is what their lines begin with in the list, p:GROUP/. With a second argument it
 * serves a process that opens and closes such sets of events one after another, and may
 * start no process by then: argv[1] is p:GROUP/NAME_A_ and the A is the first set's
 * letter. It inherits these descriptors:
 */
#define PARENT 3 /* pidfd of the process that defines the events */
#define CLOSED 4 /* eventfd: how many sets the parent has closed since it was read */
#define LIST 5   /* kprobe_events, for reading */
#define EVENTS 6 /* kprobe_events, for writing */
#define KEPT 7   /* a socket in which the parent leaves descriptors: closing it closes them, when
		    its set is closed, or, of who is served, at the parent's end */

#include <linux/poll.h>
#include <linux/prctl.h>
#include <asm/unistd.h>
#include <signal.h>
#include <time.h>

#define PAUSE_MS 50
#define MAX_PAUSES (60 * 1000 / PAUSE_MS) /* in which nothing could be deleted */

static long call(long nr, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return ret;
}

static int starts_with(const char *text, const char *end, const char *prefix)
{
	for (; *prefix; prefix++, text++)
		if (text == end || *text != *prefix)
			return 0;
	return 1;
}

static const char *line_end(const char *at, const char *end)
{
	while (at < end && *at != '\n')
		at++;
	return at;
}

/*
 * A line of the list is "p:GROUP/EVENT 0xADDR id=...". With a minus for the p it deletes
 * that probe alone (since 5.5), which holds the kernel's event_mutex for one probe's
 * time: other tracers get their turn in between. Returns how many were deleted, or
 * the negative of how many could not be.
 */
static int delete_chunk(char *at, char *end, const char *prefix)
{
	int deleted = 0, refused = 0;

	while (at < end) {
		char *next = (char *)line_end(at, end);

		if (next == end)
			break; /* the list is read by whole lines */
		if (starts_with(at, next, prefix)) {
			*at = '-';
			if (call(__NR_write, EVENTS, (long)at, next + 1 - at, 0) > 0)
				deleted++;
			else
				refused++;
		}
		at = next + 1;
	}
	return deleted ? deleted : -refused;
}

/* One pass over the list, up to the first probes of the group. */
static int delete_some(const char *prefix)
{
	static char text[8192];

	call(__NR_lseek, LIST, 0, 0, 0);
	for (;;) {
		long n = call(__NR_read, LIST, (long)text, sizeof(text), 0);
		int deleted;

		if (n <= 0)
			return 0;
		deleted = delete_chunk(text, text + n, prefix);
		if (deleted)
			return deleted;
	}
}

static void pause_ms(long ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	call(__NR_nanosleep, (long)&t, 0, 0, 0);
}

/* Returns whether the parent lives, and has closed a set. */
static int wait_for_close(void)
{
	struct pollfd fds[] = {
		{ .fd = PARENT, .events = POLLIN },
		{ .fd = CLOSED, .events = POLLIN },
	};

	while (call(__NR_poll, (long)fds, 2, -1, 0) <= 0)
		;
	return !fds[0].revents;
}

static void reap(const char *prefix)
{
	int pauses = 0;

	for (;;) {
		int deleted = delete_some(prefix);

		if (deleted == 0)
			return;
		if (deleted > 0)
			pauses = 0;
		else if (pauses++ < MAX_PAUSES)
			pause_ms(PAUSE_MS); /* still in use: a descriptor was inherited */
		else
			return;
	}
}

static void serve(char *prefix)
{
	char *letter = prefix;

	while (*letter)
		letter++;
	letter -= 2;
	while (wait_for_close()) {
		unsigned long closed = 0;

		call(__NR_read, CLOSED, (long)&closed, sizeof(closed), 0);
		for (; closed; closed--) {
			reap(prefix);
			*letter = *letter == 'Z' ? 'A' : *letter + 1;
		}
	}
	call(__NR_close, KEPT, 0, 0, 0); /* the parent has ended: nobody wants them any more */
	*letter = 0; /* those of all letters */
	reap(prefix);
}

__attribute__((used)) static void start(long *stack)
{
	char *prefix = (char *)stack[2];
	long all = -1;

	if (stack[0] < 2)
		call(__NR_exit_group, 2, 0, 0, 0);
	/* It is not the terminal's to end, nor that of whoever ends the parent's group. */
	call(__NR_rt_sigprocmask, SIG_BLOCK, (long)&all, 0, sizeof(all));
	call(__NR_setsid, 0, 0, 0, 0);
	call(__NR_prctl, PR_SET_NAME, (long)"netns-trace-rm", 0, 0);
	call(__NR_chdir, (long)"/", 0, 0, 0);
	/* Somebody may wait for the other end of what the parent was given (since 5.9). */
	call(__NR_close_range, KEPT + 1, ~0U, 0, 0);
	/* The first one ends, so that the parent has no child to wait for later. */
	long child = call(__NR_fork, 0, 0, 0, 0);
	if (child == 0 && stack[0] > 2) {
		serve(prefix);
	} else if (child == 0) {
		wait_for_close();
		call(__NR_close, KEPT, 0, 0, 0); /* first: they are probes that still run */
		reap(prefix);
	}
	call(__NR_exit_group, child < 0, 0, 0, 0);
}

__attribute__((naked, noreturn)) void _start(void)
{
	__asm__("mov %rsp, %rdi\n\tand $-16, %rsp\n\tcall start");
}
