// SPDX-License-Identifier: Apache-2.0
/*
 * netnspin: keeps a network namespace alive that somebody else then deletes, in one
 * of the ways in which that is forgotten. See usage() for them.
 *
 * One line says that it is done:
 *	pinning netns INODE by HOW fd N
 * where there is a descriptor to close. Its end, by whatever signal, lets go.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *netns;

static void die(const char *doing)
{
	fprintf(stderr, "netnspin: %s: %s\n", doing, strerror(errno));
	exit(1);
}

static int opened(void)
{
	int fd = open(netns, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die(netns);
	return fd;
}

static void enter(int fd)
{
	if (setns(fd, CLONE_NEWNET) < 0)
		die("setns");
	close(fd);
}

/* Makes a descriptor while in the namespace, and is home again. */
static int made_there(int (*make)(void))
{
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), fd;

	if (home < 0)
		die("/proc/self/ns/net");
	enter(opened());
	fd = make();
	if (fd < 0)
		die("making it there");
	enter(home);
	return fd;
}

static int udp(void)
{
	return socket(AF_INET, SOCK_DGRAM, 0);
}

static int tun(void)
{
	return open("/dev/net/tun", O_RDWR);
}

/* A listening socket with one connection that nobody accepts: two references more. */
static int listener(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0), other = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(fd, (void *)&address, sizeof(address)) < 0 || listen(fd, 8) < 0 ||
	    getsockname(fd, (void *)&address, &len) < 0 ||
	    connect(other, (void *)&address, sizeof(address)) < 0)
		die("connecting there");
	return fd;
}

/*
 * Leaves fd in a message that nobody reads: the message alone keeps the file open. It
 * is the second that is sent, as a daemon may send several.
 */
static void into_message(int fd)
{
	int sent[] = { STDIN_FILENO, fd };
	char control[CMSG_SPACE(sizeof(sent))] = { 0 };
	struct iovec byte = { .iov_base = (void *)"x", .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &byte,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
	int pair[2];

	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof(sent));
	memcpy(CMSG_DATA(rights), sent, sizeof(sent));
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 ||
	    sendmsg(pair[0], &message, 0) < 0)
		die("sending the descriptor");
	close(fd);
}

/*
 * In a mount namespace of its own, on a file that nobody else has: unlinking the name
 * in /run/netns takes the mounts off it everywhere, copies in other mount namespaces
 * included.
 */
static void mounted(void)
{
	int at;

	if (unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		die("mount namespace");
	if (mount("none", "/mnt", "tmpfs", 0, NULL) < 0)
		die("/mnt");
	at = open("/mnt/pin", O_CREAT | O_WRONLY, 0600);
	if (at < 0 || mount(netns, "/mnt/pin", NULL, MS_BIND, NULL) < 0)
		die("/mnt/pin");
	close(at);
}

static void *stay(void *unused)
{
	(void)unused;
	enter(opened());
	printf("thread %d is there\n", gettid());
	pause();
	return NULL;
}

static void thread(void)
{
	pthread_t strayed;

	errno = pthread_create(&strayed, NULL, stay, NULL);
	if (errno)
		die("creating a thread");
}

static void usage(FILE *to)
{
	fputs("usage: netnspin HOW NETNS-FILE\n"
	      "  descriptor      an open file of the namespace\n"
	      "  socket          a UDP socket made there\n"
	      "  listener        a listening socket, a connection that nobody accepts, and its other end\n"
	      "  tun             an open /dev/net/tun\n"
	      "  message         an open file of the namespace, in an unread message\n"
	      "  message-socket  a UDP socket made there, in an unread message\n"
	      "  mount           a bind mount at /mnt/pin in a mount namespace of its own\n"
	      "  thread          a thread that stays there\n",
	      to);
}

int main(int argc, char **argv)
{
	struct stat st;
	int fd = -1;

	if (argc != 3) {
		usage(stderr);
		return 2;
	}
	netns = argv[2];
	if (stat(netns, &st) < 0)
		die(netns);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(argv[1], "descriptor"))
		fd = opened();
	else if (!strcmp(argv[1], "socket"))
		fd = made_there(udp);
	else if (!strcmp(argv[1], "listener"))
		fd = made_there(listener);
	else if (!strcmp(argv[1], "tun"))
		fd = made_there(tun);
	else if (!strcmp(argv[1], "message"))
		into_message(opened());
	else if (!strcmp(argv[1], "message-socket"))
		into_message(made_there(udp));
	else if (!strcmp(argv[1], "mount"))
		mounted();
	else if (!strcmp(argv[1], "thread"))
		thread();
	else {
		usage(stderr);
		return 2;
	}
	printf("pinning netns %lu by %s", (unsigned long)st.st_ino, argv[1]);
	if (fd >= 0)
		printf(" fd %d", fd);
	printf("\n");
	pause();
	return 0;
}
