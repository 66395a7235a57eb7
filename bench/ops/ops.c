// SPDX-License-Identifier: Apache-2.0
/*
 * ops WORKLOAD [PAGES]: does it again and again and prints how many instructions each
 * window of operations took, a number a line after a line "ops N". It must run on
 * one processor under "qemu -icount shift=0,sleep=off", where a nanosecond is one
 * executed instruction, and sleeping takes time but executes nothing.
 *
 * With PAGES it takes so many pages of each CPU's memory first.
 *
 * ops hold FILE: creates the file and waits to be killed. For tracers that start a
 * command when they are attached.
 */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WARM_UP 3 /* windows that are not counted */
#define MAX_WINDOWS 500

void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "ops: %s: %s\n", what, strerror(errno));
	exit(1);
}

void sleep_ms(unsigned ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	while (nanosleep(&t, &t))
		must(errno == EINTR, "sleeping");
}

int open_netns(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	must(fd >= 0, path);
	return fd;
}

void enter_netns(int fd) { must(setns(fd, CLONE_NEWNET) == 0, "setns"); }

static uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/*
 * How long the processor has idled, as the tick code counts it: to the nanosecond
 * and without the interrupts that idling was interrupted by.
 */
static uint64_t idle_ns(void)
{
	FILE *f = fopen("/proc/timer_list", "re");
	char line[256];
	uint64_t sum = 0, one;
	bool found = false;

	must(f, "/proc/timer_list");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, " .idle_sleeptime : %lu nsecs", &one) == 1) {
			sum += one;
			found = true;
		}
	}
	fclose(f);
	errno = ENODATA;
	must(found, "/proc/timer_list: idle_sleeptime");
	return sum;
}

static uint64_t count(const struct workload *w)
{
	uint64_t idle = 0, start, end;

	if (w->settle_ms)
		idle = idle_ns();
	start = clock_ns();
	w->window(w->ops);
	if (w->settle_ms)
		sleep_ms(w->settle_ms);
	end = clock_ns();
	if (w->settle_ms)
		idle = idle_ns() - idle;
	return end - start - idle;
}

static void measure(const struct workload *w)
{
	uint64_t windows[MAX_WINDOWS];

	if (w->setup)
		w->setup();
	for (unsigned i = 0; i < WARM_UP + w->windows; i++) {
		uint64_t n;

		if (w->prepare)
			w->prepare(w->ops);
		n = count(w);
		if (w->finish)
			w->finish(w->ops);
		if (i >= WARM_UP)
			windows[i - WARM_UP] = n;
	}
	printf("ops %u\n", w->ops);
	for (unsigned i = 0; i < w->windows; i++)
		printf("%lu\n", windows[i]);
}

static void getppids(unsigned ops)
{
	while (ops--)
		syscall(SYS_getppid);
}

/* A system call that no detector has anything to do with. */
static const struct workload getppid_call = {
	.name = "getppid", .windows = 10, .ops = 2000, .window = getppids,
};

static void nothing(unsigned ops) { (void)ops; }

/* A second in which nothing happens, but what others do in user space. */
static const struct workload idle_second = {
	.name = "idle", .windows = 20, .ops = 1, .window = nothing, .settle_ms = 1000,
};

static const struct workload *const workloads[] = {
	&udp, &getppid_call, &clone_thread, &exit_thread, &setns_pair, &setns_pair_threaded,
	&connect_multicast, &dst_life, &reference, &life, &idle_second,
};

static void hold(const char *file)
{
	int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	must(fd >= 0, file);
	close(fd);
	for (;;)
		pause();
}

/*
 * Until the kernel's random number generator is seeded, each number is made by hashing
 * the pool anew (crng_make_state): of a life of 2,778,000 instructions that
 * is 130,000 more. It is seeded when somebody waits for it.
 */
static void wait_for_random_numbers(void)
{
	char byte;

	must(getrandom(&byte, sizeof(byte), 0) == sizeof(byte), "getrandom");
}

/*
 * Which holes there are in per-CPU memory decides how often the kernel has to look for a
 * chunk's largest one (pcpu_chunk_refresh_hint): in some layouts 25 times in a life instead
 * of 15, and there a life has 75,000 instructions more. BPF's tables move the holes, traced functions do
 * not matter. So each process takes another part of that memory, for as long as it runs.
 */
static void take_percpu_memory(unsigned pages)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY }; /* before 5.11 */
	union bpf_attr map = {
		.map_type = BPF_MAP_TYPE_PERCPU_ARRAY, .key_size = 4, .value_size = 4096, .max_entries = pages,
	};

	if (!pages)
		return;
	must(setrlimit(RLIMIT_MEMLOCK, &unlimited) == 0, "setrlimit");
	must(syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof(map)) >= 0, "taking per-CPU memory");
}

int main(int argc, char **argv)
{
	unsigned pages = 0;

	if (argc == 3 && !strcmp(argv[1], "hold"))
		hold(argv[2]);
	if (argc == 3) {
		pages = strtoul(argv[2], NULL, 10);
		argc--;
	}
	for (unsigned i = 0; argc == 2 && i < sizeof(workloads) / sizeof(*workloads); i++) {
		if (!strcmp(argv[1], workloads[i]->name)) {
			wait_for_random_numbers();
			take_percpu_memory(pages);
			measure(workloads[i]);
			return 0;
		}
	}
	fprintf(stderr, "usage: ops WORKLOAD [PAGES] | ops hold FILE; the workloads are:\n");
	for (unsigned i = 0; i < sizeof(workloads) / sizeof(*workloads); i++)
		fprintf(stderr, "  %s\n", workloads[i]->name);
	return 2;
}
