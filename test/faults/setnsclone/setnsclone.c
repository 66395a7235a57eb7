// SPDX-License-Identifier: Apache-2.0
/*
 * setnsclone: a thread is cloned while its parent is in another network
 * namespace, the parent goes home, the clone stays. See usage() for the
 * variations and ../README.md for the report it comes from.
 *
 * Every step is one line on standard output, written in one piece:
 *	home tid=N inode=N          the thread that will switch, before
 *	away tid=N inode=N          after setns
 *	cloned tid=N parent=N inode=N
 *	back tid=N inode=N          after setns home
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Small, so that five thousand idle threads fit into a small guest. */
#define STACK_SIZE (64 * 1024)

static struct {
	const char *netns;
	const char *command; /* --fork-exec */
	long hold_ms;
	long recover_ms;
	long exit_child_ms;
	long run_ms;
	long threads;
	long idle_threads;
	bool stay;
	bool no_return;
	bool on_main;
	bool wait;
	struct sockaddr_in peer; /* --connect; family 0: none */
} opt = { .hold_ms = 100, .threads = 1 };

/* Opened before any switch; what "home" means to every thread. */
static int home_fd;

/* One write a line: lines of different threads never mix. */
static void say(const char *format, ...)
{
	char line[256];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (n > 0 && n < (int)sizeof(line))
		while (write(STDOUT_FILENO, line, n) < 0 && errno == EINTR)
			;
}

static void die(const char *doing)
{
	fprintf(stderr, "setnsclone: %s: %s\n", doing, strerror(errno));
	exit(1);
}

static unsigned long netns_inode(void)
{
	struct stat st;

	/* Not /proc/self: that is the main thread's, whoever asks. */
	if (stat("/proc/thread-self/ns/net", &st) < 0)
		die("reading /proc/thread-self/ns/net");
	return st.st_ino;
}

static void sleep_ms(long ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

static void enter(int fd, const char *doing)
{
	if (setns(fd, CLONE_NEWNET) < 0)
		die(doing);
}

static void start(pthread_t *thread, void *(*body)(void *), void *arg)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	errno = pthread_create(thread, &attr, body, arg);
	if (errno)
		die("creating a thread");
	pthread_attr_destroy(&attr);
}

/* The harm: what the daemon's own connections meet on such a thread. */
static void try_connect(void)
{
	struct timeval limit = { .tv_usec = 900000 };
	const char *result = "ok";
	int fd;

	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		say("connect tid=%d result=%s\n", gettid(), strerrorname_np(errno));
		return;
	}
	/* connect gives up with EINPROGRESS when this is over. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&opt.peer, sizeof(opt.peer)) < 0)
		result = strerrorname_np(errno);
	close(fd);
	say("connect tid=%d result=%s\n", gettid(), result);
}

static long elapsed_ms(const struct timespec *since)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - since->tv_sec) * 1000 +
	       (now.tv_nsec - since->tv_nsec) / 1000000;
}

static void *stranded(void *parent)
{
	struct timespec born;
	bool recovered = false;
	long next_connect = 0;

	clock_gettime(CLOCK_MONOTONIC, &born);
	say("cloned tid=%d parent=%d inode=%lu\n", gettid(), (int)(long)parent,
	    netns_inode());

	for (;;) {
		long age = elapsed_ms(&born);

		if (opt.exit_child_ms && age >= opt.exit_child_ms) {
			say("exited tid=%d\n", gettid());
			return NULL;
		}
		if (opt.recover_ms && !recovered && age >= opt.recover_ms) {
			enter(home_fd, "recovering: setns home");
			recovered = true;
			say("recovered tid=%d inode=%lu\n", gettid(), netns_inode());
		}
		if (opt.peer.sin_family && age >= next_connect) {
			try_connect();
			next_connect = age + 1000;
		}
		sleep_ms(20);
	}
}

__attribute__((noreturn)) static void *idle(void *unused)
{
	(void)unused;
	for (;;)
		pause();
}

/* fork and vfork, then exec: children of their own, never threads of ours. */
static void run_children(void)
{
	for (int i = 0; i < 2; i++) {
		pid_t pid = i ? vfork() : fork();
		int status;

		if (pid < 0)
			die(i ? "vfork" : "fork");
		if (pid == 0) {
			execl("/bin/sh", "sh", "-c", opt.command, (char *)NULL);
			_exit(127);
		}
		if (waitpid(pid, &status, 0) < 0)
			die("waiting for a child");
		say("%s pid=%d parent=%d status=%d\n", i ? "vforked" : "forked", pid,
		    gettid(), WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	}
}

/* Nothing happens until somebody who is watching says so. */
static void wait_for_go(void)
{
	sigset_t go;
	int sig;

	sigemptyset(&go);
	sigaddset(&go, SIGUSR1);
	say("waiting pid=%d\n", getpid());
	while (sigwait(&go, &sig) != 0)
		;
}

/* The setns window. Joins the cloned threads only when they are to end. */
static void *window(void *unused)
{
	pthread_t *clones = calloc(opt.threads, sizeof(*clones));
	int away_fd = open(opt.netns, O_RDONLY | O_CLOEXEC);
	long count = opt.command ? 0 : opt.threads;

	(void)unused;
	if (!clones)
		die("allocating");
	if (away_fd < 0)
		die(opt.netns);

	say("home tid=%d inode=%lu\n", gettid(), netns_inode());
	enter(away_fd, "setns away");
	say("away tid=%d inode=%lu\n", gettid(), netns_inode());
	close(away_fd);

	if (opt.command)
		run_children();
	for (long i = 0; i < count; i++)
		start(&clones[i], stranded, (void *)(long)gettid());
	sleep_ms(opt.hold_ms);

	if (!opt.no_return) {
		enter(home_fd, "setns home");
		say("back tid=%d inode=%lu\n", gettid(), netns_inode());
	}
	for (long i = 0; i < count; i++)
		pthread_join(clones[i], NULL);
	free(clones);
	return NULL;
}

static void leave(int sig)
{
	const char *why = sig == SIGALRM ? "ended: --run-ms is over\n"
					 : "ended: signal\n";

	if (write(STDOUT_FILENO, why, strlen(why)) < 0)
		_exit(1);
	_exit(0);
}

static void parse_peer(const char *text)
{
	char host[INET_ADDRSTRLEN] = "";
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;
	long port = colon ? strtol(colon + 1, NULL, 10) : 0;

	if (len > 0 && len < sizeof(host))
		memcpy(host, text, len);
	if (port <= 0 || port > 65535 ||
	    inet_pton(AF_INET, host, &opt.peer.sin_addr) != 1) {
		fprintf(stderr, "setnsclone: --connect wants IPV4-ADDRESS:PORT\n");
		exit(2);
	}
	opt.peer.sin_family = AF_INET;
	opt.peer.sin_port = htons(port);
}

static void usage(FILE *to)
{
	fputs("usage: setnsclone NETNS-FILE [options]\n"
	      "  --hold-ms N        time between setns away and home (100)\n"
	      "  --threads N        threads cloned while away (1)\n"
	      "  --main             the main thread switches, not a worker\n"
	      "  --no-return        the switching thread never goes home\n"
	      "  --recover-ms N     a cloned thread goes home by itself, N ms old\n"
	      "  --exit-child-ms N  a cloned thread ends, N ms old\n"
	      "  --connect A:P      cloned threads try a TCP connect every second\n"
	      "  --fork-exec CMD    clone no thread: fork and vfork, exec sh -c CMD\n"
	      "  --idle-threads N   first make N threads at home that do nothing\n"
	      "  --wait             start only when SIGUSR1 comes\n"
	      "  --stay             live on after the last cloned thread has ended\n"
	      "  --run-ms N         end the process after N ms (0: on SIGTERM)\n",
	      to);
}

static long number(const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || n < 0 || n > 86400000) {
		fprintf(stderr, "setnsclone: not a number: %s\n", text);
		exit(2);
	}
	return n;
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "hold-ms", required_argument, NULL, 'h' },
		{ "threads", required_argument, NULL, 't' },
		{ "main", no_argument, NULL, 'm' },
		{ "no-return", no_argument, NULL, 'n' },
		{ "recover-ms", required_argument, NULL, 'r' },
		{ "exit-child-ms", required_argument, NULL, 'e' },
		{ "connect", required_argument, NULL, 'c' },
		{ "fork-exec", required_argument, NULL, 'f' },
		{ "idle-threads", required_argument, NULL, 'i' },
		{ "stay", no_argument, NULL, 's' },
		{ "wait", no_argument, NULL, 'w' },
		{ "run-ms", required_argument, NULL, 'u' },
		{ "help", no_argument, NULL, '?' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'h': opt.hold_ms = number(optarg); break;
		case 't': opt.threads = number(optarg); break;
		case 'm': opt.on_main = true; break;
		case 'n': opt.no_return = true; break;
		case 'r': opt.recover_ms = number(optarg); break;
		case 'e': opt.exit_child_ms = number(optarg); break;
		case 'c': parse_peer(optarg); break;
		case 'f': opt.command = optarg; break;
		case 'i': opt.idle_threads = number(optarg); break;
		case 's': opt.stay = true; break;
		case 'w': opt.wait = true; break;
		case 'u': opt.run_ms = number(optarg); break;
		default: usage(stderr); exit(2);
		}
	}
	if (optind != argc - 1) {
		usage(stderr);
		exit(2);
	}
	opt.netns = argv[optind];
}

int main(int argc, char **argv)
{
	struct sigaction on_leave = { .sa_handler = leave };
	pthread_t worker, unused;
	sigset_t go;

	/* In every thread: it is for sigwait alone. */
	sigemptyset(&go);
	sigaddset(&go, SIGUSR1);
	sigprocmask(SIG_BLOCK, &go, NULL);
	parse(argc, argv);
	sigaction(SIGTERM, &on_leave, NULL);
	sigaction(SIGINT, &on_leave, NULL);
	sigaction(SIGALRM, &on_leave, NULL);
	if (opt.run_ms) {
		struct itimerval limit = {
			.it_value = { opt.run_ms / 1000, opt.run_ms % 1000 * 1000 },
		};
		setitimer(ITIMER_REAL, &limit, NULL);
	}

	home_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home_fd < 0)
		die("opening /proc/self/ns/net");
	for (long i = 0; i < opt.idle_threads; i++)
		start(&unused, idle, NULL);
	if (opt.idle_threads)
		say("idle threads=%ld\n", opt.idle_threads);

	if (opt.wait)
		wait_for_go();
	if (opt.on_main) {
		window(NULL);
	} else {
		start(&worker, window, NULL);
		pthread_join(worker, NULL);
	}
	if (opt.stay || opt.no_return)
		idle(NULL);
	say("done\n");
	return 0;
}
