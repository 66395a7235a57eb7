// SPDX-License-Identifier: Apache-2.0
/* The life of a container's network: a namespace and a veth pair, made and deleted. */
#include "ops.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINK "life0"
#define PEER_LINK "eth0"

static int home, netlink; /* a socket of home */

struct request {
	struct nlmsghdr header;
	struct ifinfomsg link;
	char attributes[256];
};

static void *end_of(struct request *r) { return (char *)r + NLMSG_ALIGN(r->header.nlmsg_len); }

static struct rtattr *put(struct request *r, unsigned short type, const void *data, unsigned len)
{
	struct rtattr *a = end_of(r);

	a->rta_type = type;
	a->rta_len = RTA_LENGTH(len);
	if (len)
		memcpy(RTA_DATA(a), data, len);
	r->header.nlmsg_len = NLMSG_ALIGN(r->header.nlmsg_len) + RTA_ALIGN(a->rta_len);
	return a;
}

static void close_nest(struct request *r, struct rtattr *a) { a->rta_len = (char *)end_of(r) - (char *)a; }

static struct request request_for(unsigned short type, unsigned short flags, const char *name)
{
	struct request r = {
		.header = {
			.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
			.nlmsg_type = type,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags,
		},
		.link = { .ifi_flags = IFF_UP, .ifi_change = IFF_UP },
	};

	put(&r, IFLA_IFNAME, name, strlen(name) + 1);
	return r;
}

static void ask(int socket, struct request *r, const char *what)
{
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char more[512];
	} answer;
	ssize_t n;

	must(send(socket, r, r->header.nlmsg_len, 0) >= 0, what);
	n = recv(socket, &answer, sizeof(answer), 0);
	must(n >= (ssize_t)sizeof(answer.header), what);
	errno = answer.header.nlmsg_type == NLMSG_ERROR ? -answer.error.error : EPROTO;
	must(errno == 0, what);
}

static int netlink_socket(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	must(fd >= 0, "netlink socket");
	return fd;
}

static void add_veth(int peer_netns)
{
	struct request r = request_for(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, LINK);
	struct ifinfomsg down = {}; /* veth refuses a peer that is up at once */
	struct rtattr *info, *data, *peer;

	info = put(&r, IFLA_LINKINFO, NULL, 0);
	put(&r, IFLA_INFO_KIND, "veth", strlen("veth"));
	data = put(&r, IFLA_INFO_DATA, NULL, 0);
	peer = put(&r, VETH_INFO_PEER, &down, sizeof(down));
	put(&r, IFLA_IFNAME, PEER_LINK, sizeof(PEER_LINK));
	put(&r, IFLA_NET_NS_FD, &peer_netns, sizeof(peer_netns));
	close_nest(&r, peer);
	close_nest(&r, data);
	close_nest(&r, info);
	ask(netlink, &r, "adding a veth pair");
}

/* In the namespace of the caller. */
static void take_up_peer(void)
{
	struct request r = request_for(RTM_NEWLINK, 0, PEER_LINK);
	int fd = netlink_socket();

	ask(fd, &r, "taking the peer up");
	close(fd);
}

static void delete_veth(void)
{
	struct request r = request_for(RTM_DELLINK, 0, LINK);

	ask(netlink, &r, "deleting a veth pair");
}

static void life_setup(void)
{
	home = open_netns(HOME_NETNS);
	netlink = netlink_socket();
}

static void lives(unsigned ops)
{
	while (ops--) {
		int born;

		must(unshare(CLONE_NEWNET) == 0, "unshare");
		born = open_netns(HOME_NETNS);
		add_veth(born);
		take_up_peer();
		enter_netns(home);
		delete_veth();
		close(born); /* the last that held it */
	}
}

/*
 * One by one: of several the kernel cleans up some together, now more, now fewer. Not
 * longer than it needs: a tracer that wakes up now and then would count as often.
 */
const struct workload life = {
	.name = "life", .windows = 12, .ops = 1, .setup = life_setup, .window = lives, .settle_ms = 100,
};
