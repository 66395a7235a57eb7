// SPDX-License-Identifier: Apache-2.0
/*
 * dockerdclone.so: preloaded into a real dockerd, it gives today's daemon the bug of
 * 2016: a thread that was cloned while its parent was in a container's network
 * namespace, and that stays there.
 *
 *	DOCKERDCLONE_FIFO=/run/dockerdclone LD_PRELOAD=.../dockerdclone.so dockerd
 *	echo /run/docker/netns/0123456789ab >/run/dockerdclone
 *
 * A control thread reads namespace files from the FIFO, one a line. For each it
 * goes there, clones a thread that stays and tries a TCP connect every second, and
 * goes home. What happened is appended to the FIFO's name plus ".log", one line a
 * step, in the words of setnsclone; the window ends with "back" or "error".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

static const char *fifo_path;
static int log_fd;
static int home_fd;
static sem_t said; /* the clone has written its first line */

static void say(const char *format, ...)
{
	char line[512];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (n > (int)sizeof(line) - 1)
		n = sizeof(line) - 1;
	/* O_APPEND and one write: lines of different threads never mix. */
	while (write(log_fd, line, n) < 0 && errno == EINTR)
		;
}

static unsigned long netns_inode(void)
{
	struct stat st;

	return stat("/proc/thread-self/ns/net", &st) < 0 ? 0 : st.st_ino;
}

/*
 * Where a docker pull would go. The address is from a block that is reserved for
 * documentation (RFC 5737): nothing is there, what matters is the errno.
 */
static void try_connect(void)
{
	struct sockaddr_in registry = {
		.sin_family = AF_INET,
		.sin_port = htons(443),
		.sin_addr.s_addr = htonl(0xc0000201), /* 192.0.2.1 */
	};
	struct timeval limit = { .tv_usec = 900000 };
	const char *result = "ok";
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		say("connect tid=%d result=%s\n", gettid(), strerrorname_np(errno));
		return;
	}
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&registry, sizeof(registry)) < 0)
		result = strerrorname_np(errno);
	close(fd);
	say("connect tid=%d result=%s\n", gettid(), result);
}

static void *stranded(void *parent)
{
	say("cloned tid=%d parent=%d inode=%lu\n", gettid(), (int)(long)parent,
	    netns_inode());
	sem_post(&said);
	for (;;) {
		try_connect();
		sleep(1);
	}
	return NULL;
}

static void window(const char *netns)
{
	pthread_t thread;
	int away_fd = open(netns, O_RDONLY | O_CLOEXEC);

	if (away_fd < 0) {
		say("error %s: %s\n", netns, strerrorname_np(errno));
		return;
	}
	say("home tid=%d inode=%lu\n", gettid(), netns_inode());
	if (setns(away_fd, CLONE_NEWNET) < 0) {
		say("error setns %s: %s\n", netns, strerrorname_np(errno));
		close(away_fd);
		return;
	}
	say("away tid=%d inode=%lu\n", gettid(), netns_inode());
	close(away_fd);

	errno = pthread_create(&thread, NULL, stranded, (void *)(long)gettid());
	if (errno) {
		say("error pthread_create: %s\n", strerrorname_np(errno));
	} else {
		pthread_detach(thread);
		/* So that "back" is always the last line of a window. */
		while (sem_wait(&said) < 0 && errno == EINTR)
			;
	}

	if (setns(home_fd, CLONE_NEWNET) < 0) {
		say("error setns home: %s\n", strerrorname_np(errno));
		return;
	}
	say("back tid=%d inode=%lu\n", gettid(), netns_inode());
}

static void *control(void *unused)
{
	char line[256];
	FILE *commands;
	int fd;

	(void)unused;
	/* Read and write: with a writer of our own there is never an end of file. */
	fd = open(fifo_path, O_RDWR | O_CLOEXEC);
	commands = fd < 0 ? NULL : fdopen(fd, "r");
	if (!commands) {
		say("error opening %s: %s\n", fifo_path, strerrorname_np(errno));
		return NULL;
	}
	say("ready pid=%d tid=%d\n", getpid(), gettid());
	while (fgets(line, sizeof(line), commands)) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] != '\0')
			window(line);
	}
	return NULL;
}

/* glibc hands the program's arguments to constructors. */
__attribute__((constructor)) static void begin(int argc, char **argv)
{
	const char *name = argc > 0 ? argv[0] : "";
	const char *slash = strrchr(name, '/');
	char log_path[256];
	sigset_t all, before;
	pthread_t thread;

	fifo_path = getenv("DOCKERDCLONE_FIFO");
	/* dockerd also runs itself under other names: those are short helpers. */
	if (!fifo_path || strcmp(slash ? slash + 1 : name, "dockerd") != 0)
		return;
	/* What dockerd starts has no use for this library. */
	unsetenv("LD_PRELOAD");

	snprintf(log_path, sizeof(log_path), "%s.log", fifo_path);
	log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	home_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (log_fd < 0 || home_fd < 0 ||
	    (mkfifo(fifo_path, 0600) < 0 && errno != EEXIST)) {
		fprintf(stderr, "dockerdclone: setting up %s: %s\n", fifo_path,
			strerror(errno));
		return;
	}

	sem_init(&said, 0, 0);
	/* The Go runtime wants signals on threads that it knows. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&thread, NULL, control, NULL) == 0)
		pthread_detach(thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}
