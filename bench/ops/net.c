// SPDX-License-Identifier: Apache-2.0
/* What goes through the network: packets over a veth pair, and routes. */
#include "ops.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The guest is set up so: b0 here, b1 in the other namespace. */
#define HERE "10.9.0.1"
#define THERE "10.9.0.2"
#define PORT 9000

static int sender, receiver;

static struct sockaddr_in address(const char *text)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(PORT) };

	inet_pton(AF_INET, text, &a.sin_addr);
	return a;
}

static int udp_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	must(fd >= 0, "socket");
	return fd;
}

static void udp_setup(void)
{
	struct sockaddr_in there = address(THERE);
	int home = open_netns(HOME_NETNS);

	enter_netns(open_netns(PEER_NETNS));
	receiver = udp_socket();
	must(bind(receiver, (void *)&there, sizeof(there)) == 0, "bind");
	enter_netns(home);
	sender = udp_socket();
	must(connect(sender, (void *)&there, sizeof(there)) == 0, "connect");
}

/* On one processor a packet has been received when send() returns. */
static void udp_packets(unsigned ops)
{
	char data[512] = {};

	while (ops--) {
		must(send(sender, data, sizeof(data), 0) == sizeof(data), "send");
		must(recv(receiver, data, sizeof(data), MSG_DONTWAIT) == sizeof(data), "recv");
	}
}

const struct workload udp = {
	.name = "udp", .windows = 10, .ops = 2000, .setup = udp_setup, .window = udp_packets,
};

static void multicast_setup(void)
{
	struct in_addr from;

	inet_pton(AF_INET, HERE, &from);
	sender = udp_socket();
	must(setsockopt(sender, IPPROTO_IP, IP_MULTICAST_IF, &from, sizeof(from)) == 0, "IP_MULTICAST_IF");
}

/*
 * A route to a group of this link has no place where the kernel could keep it:
 * each connect() allocates a dst, and gives the one before to RCU to free.
 */
static void multicast_connects(unsigned ops)
{
	struct sockaddr_in group = address("224.0.0.200");

	while (ops--)
		must(connect(sender, (void *)&group, sizeof(group)) == 0, "connect");
}

/* One by one, so that what RCU frees in between is not counted. */
const struct workload connect_multicast = {
	.name = "dst", .windows = 500, .ops = 1, .setup = multicast_setup, .window = multicast_connects,
};

const struct workload dst_life = {
	.name = "dst-life", .windows = 20, .ops = 200,
	.setup = multicast_setup, .window = multicast_connects, .settle_ms = 100,
};

static int pairs; /* of the module refpairs */

static void reference_setup(void)
{
	pairs = open("/sys/kernel/debug/refpairs", O_WRONLY | O_CLOEXEC);
	must(pairs >= 0, "/sys/kernel/debug/refpairs");
}

/* One system call does them all, so that hardly anything but the references is seen. */
static void references(unsigned ops)
{
	char command[32];
	int n = snprintf(command, sizeof(command), "b0 %u", ops);

	must(write(pairs, command, n) == n, "/sys/kernel/debug/refpairs");
}

const struct workload reference = {
	.name = "reference", .windows = 10, .ops = 2000, .setup = reference_setup, .window = references,
};
