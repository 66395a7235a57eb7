// SPDX-License-Identifier: Apache-2.0
/*
 * sockhold: binds one socket to a network device and keeps it. Some families let
 * go of a device that is deleted, some hold it until the socket is closed. See
 * usage() for the families and README.md for what each does on which kernel.
 *
 * One line says that it is done:
 *	holding DEV by FAMILY socket fd N inode N
 * with --in-flight the descriptor is closed, and it ends with "in flight" instead
 * of "fd N": nobody's table of descriptors has the socket any more.
 * Its end, by whatever signal, closes the socket.
 */
#include <net/if.h> /* before linux/if.h, which then leaves out what it has */

#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/can.h>
#include <linux/can/j1939.h>
#include <linux/can/raw.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/if_xdp.h>
#include <linux/llc.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <fcntl.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SOL_XDP
#define SOL_XDP 283
#endif

#define die(...)                                           \
	do {                                               \
		fprintf(stderr, "sockhold: " __VA_ARGS__); \
		fprintf(stderr, ": %s\n", strerror(errno)); \
		exit(1);                                   \
	} while (0)

static int make(int family, int type, int protocol)
{
	int fd = socket(family, type, protocol);

	if (fd < 0)
		die("making the socket");
	return fd;
}

static int index_of(const char *dev)
{
	int index = if_nametoindex(dev);

	if (!index)
		die("%s", dev);
	return index;
}

static int bound(int fd, const void *address, socklen_t len)
{
	if (bind(fd, address, len) < 0)
		die("binding");
	return fd;
}

/* SAP by which this socket is known; even, as those of individuals are. */
#define LLC_SAP 0x42

/*
 * af_llc has no netdev notifier: it holds the device until it is closed. The
 * address is the device's own, which is how a program that knows no ifindex
 * binds.
 */
static int hold_llc(const char *dev, const char *unused)
{
	struct sockaddr_llc address = {
		.sllc_family = AF_LLC,
		.sllc_arphrd = ARPHRD_ETHER,
		.sllc_sap = LLC_SAP,
	};
	int fd = make(AF_LLC, SOCK_DGRAM, 0);
	struct ifreq request = { 0 };

	(void)unused;
	strncpy(request.ifr_name, dev, IFNAMSIZ - 1);
	if (ioctl(fd, SIOCGIFHWADDR, &request) < 0)
		die("address of %s", dev);
	memcpy(address.sllc_mac, request.ifr_hwaddr.sa_data, IFHWADDRLEN);
	return bound(fd, &address, sizeof(address));
}

static int hold_j1939(const char *dev, const char *unused)
{
	struct sockaddr_can address = {
		.can_family = AF_CAN,
		.can_ifindex = index_of(dev),
		.can_addr.j1939 = {
			.name = J1939_NO_NAME,
			.addr = 0x20,
			.pgn = J1939_NO_PGN,
		},
	};

	(void)unused;
	return bound(make(AF_CAN, SOCK_DGRAM, CAN_J1939), &address, sizeof(address));
}

static int hold_can_raw(const char *dev, const char *unused)
{
	struct sockaddr_can address = {
		.can_family = AF_CAN,
		.can_ifindex = index_of(dev),
	};

	(void)unused;
	return bound(make(AF_CAN, SOCK_RAW, CAN_RAW), &address, sizeof(address));
}

/* A broadcast manager's socket is connected, not bound. */
static int hold_can_bcm(const char *dev, const char *unused)
{
	struct sockaddr_can address = {
		.can_family = AF_CAN,
		.can_ifindex = index_of(dev),
	};
	int fd = make(AF_CAN, SOCK_DGRAM, CAN_BCM);

	(void)unused;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die("connecting");
	return fd;
}

static int hold_packet(const char *dev, const char *unused)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = index_of(dev),
	};

	(void)unused;
	return bound(make(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), &address,
		     sizeof(address));
}

#define XDP_FRAMES 8
#define XDP_FRAME_SIZE 4096

static int hold_xdp(const char *dev, const char *unused)
{
	static const int rings[] = {
		XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING,
	};
	struct sockaddr_xdp address = {
		.sxdp_family = AF_XDP,
		.sxdp_ifindex = index_of(dev),
	};
	struct xdp_umem_reg memory = {
		.len = XDP_FRAMES * XDP_FRAME_SIZE,
		.chunk_size = XDP_FRAME_SIZE,
	};
	int fd = make(AF_XDP, SOCK_RAW, 0), entries = XDP_FRAMES;
	void *frames = mmap(NULL, memory.len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)unused;
	if (frames == MAP_FAILED)
		die("mapping frames");
	memory.addr = (unsigned long)frames;
	if (setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &memory, sizeof(memory)) < 0)
		die("registering frames");
	for (unsigned int i = 0; i < sizeof(rings) / sizeof(rings[0]); i++)
		if (setsockopt(fd, SOL_XDP, rings[i], &entries, sizeof(entries)) < 0)
			die("ring %d", rings[i]);
	return bound(fd, &address, sizeof(address));
}

/* What is sent first caches the route in the socket. */
static int hold_udp(const char *dev, const char *peer)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(9) };
	struct sockaddr_in6 address6 = { .sin6_family = AF_INET6, .sin6_port = htons(9) };
	int six = peer && inet_pton(AF_INET6, peer, &address6.sin6_addr) == 1;
	int fd;

	if (!six && (!peer || inet_pton(AF_INET, peer, &address.sin_addr) != 1)) {
		fprintf(stderr, "sockhold: udp wants udp:ADDRESS\n");
		exit(2);
	}
	fd = make(six ? AF_INET6 : AF_INET, SOCK_DGRAM, 0);
	if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, dev, strlen(dev) + 1) < 0)
		die("binding to %s", dev);
	if (connect(fd, six ? (void *)&address6 : (void *)&address,
		    six ? sizeof(address6) : sizeof(address)) < 0)
		die("connecting to %s", peer);
	if (send(fd, "x", 1, 0) < 0)
		die("sending to %s", peer);
	return fd;
}

/* Not a socket's descriptor but that of /dev/net/tun, which has a sock all the same. */
static int hold_tap(const char *dev, const char *unused)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR);

	(void)unused;
	if (fd < 0)
		die("opening /dev/net/tun");
	strncpy(request.ifr_name, dev, IFNAMSIZ - 1);
	if (ioctl(fd, TUNSETIFF, &request) < 0)
		die("making %s", dev);
	return fd;
}

/* One request about queue number, with one attribute. */
static void ask_queue(int fd, unsigned short number, unsigned short type,
		      const void *value, unsigned short len)
{
	struct {
		struct nlmsghdr header;
		struct nfgenmsg about;
		struct nlattr attribute;
		char value[16];
	} request = {
		.header = {
			.nlmsg_len = NLMSG_LENGTH(sizeof(struct nfgenmsg)) +
				     NLA_ALIGN(NLA_HDRLEN + len),
			.nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_CONFIG,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
		},
		.about = { .version = NFNETLINK_V0, .res_id = htons(number) },
		.attribute = { .nla_len = NLA_HDRLEN + len, .nla_type = type },
	};
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char rest[256];
	} answer;

	memcpy(request.value, value, len);
	if (send(fd, &request, request.header.nlmsg_len, 0) < 0 ||
	    recv(fd, &answer, sizeof(answer), 0) < 0)
		die("asking for queue %d", number);
	if (answer.header.nlmsg_type == NLMSG_ERROR && answer.error.error) {
		errno = -answer.error.error;
		die("queue %d", number);
	}
}

/* Packets that come to the queue stay there: nobody says what is to become of them. */
static int hold_nfqueue(const char *dev, const char *number)
{
	struct nfqnl_msg_config_params params = {
		.copy_range = htonl(64),
		.copy_mode = NFQNL_COPY_PACKET,
	};
	struct nfqnl_msg_config_cmd bind = {
		.command = NFQNL_CFG_CMD_BIND,
		.pf = htons(AF_INET),
	};
	int fd = make(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
	int queue = number ? atoi(number) : 0;

	(void)dev; /* it is the rule that says which packets */
	ask_queue(fd, queue, NFQA_CFG_CMD, &bind, sizeof(bind));
	ask_queue(fd, queue, NFQA_CFG_PARAMS, &params, sizeof(params));
	return fd;
}

/* Not a socket's descriptor but that of a BPF map with one entry, the device. */
static int hold_in_map(enum bpf_map_type type, const char *dev, const char *index)
{
	unsigned int key = index ? atoi(index) : 0, value = index_of(dev);
	union bpf_attr attr = {
		.map_type = type,
		.key_size = sizeof(key),
		.value_size = sizeof(value),
		.max_entries = 16,
	};
	int fd = syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));

	if (fd < 0)
		die("making the map");
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = fd;
	attr.key = (unsigned long)&key;
	attr.value = (unsigned long)&value;
	if (syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr)) < 0)
		die("entry %u", key);
	return fd;
}

static int hold_devmap(const char *dev, const char *index)
{
	return hold_in_map(BPF_MAP_TYPE_DEVMAP, dev, index);
}

static int hold_devmap_hash(const char *dev, const char *index)
{
	return hold_in_map(BPF_MAP_TYPE_DEVMAP_HASH, dev, index);
}

static const struct {
	const char *name;
	int (*hold)(const char *dev, const char *argument);
	const char *says;
} families[] = {
	{ "llc", hold_llc, "AF_LLC, bound by the device's address" },
	{ "j1939", hold_j1939, "CAN J1939, bound" },
	{ "can-raw", hold_can_raw, "CAN raw, bound" },
	{ "can-bcm", hold_can_bcm, "CAN broadcast manager, connected" },
	{ "packet", hold_packet, "AF_PACKET for every protocol, bound" },
	{ "xdp", hold_xdp, "AF_XDP, bound to queue 0" },
	{ "udp", hold_udp, "udp:ADDRESS: UDP, connected through DEV, the route cached" },
	{ "nfqueue", hold_nfqueue, "nfqueue:NUMBER: packets in that queue stay there; says when the first came" },
	{ "devmap", hold_devmap, "devmap:INDEX: an entry of a BPF map that is an array" },
	{ "devmap-hash", hold_devmap_hash, "devmap-hash:INDEX: of one that is a hash table" },
	{ "tap", hold_tap, "a tap device of that name, which the descriptor's end deletes" },
};

#define FAMILIES (sizeof(families) / sizeof(families[0]))

static void usage(FILE *to)
{
	fputs("usage: sockhold [--in-flight] FAMILY DEV [SECONDS]\n"
	      "Holds until a signal comes, or for SECONDS.\n"
	      "  --in-flight  send the descriptor through a unix socket that nobody\n"
	      "               reads, and close it\n"
	      "families:\n", to);
	for (unsigned int i = 0; i < FAMILIES; i++)
		fprintf(to, "  %-12s %s\n", families[i].name, families[i].says);
}

/* Sends fd to a socket that nobody reads: the message alone keeps the file open. */
static void into_flight(int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
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
	rights->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(rights), &fd, sizeof(fd));
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) < 0 ||
	    sendmsg(pair[0], &message, 0) < 0)
		die("sending the descriptor");
	close(fd);
}

int main(int argc, char **argv)
{
	int in_flight = argc > 1 && !strcmp(argv[1], "--in-flight");
	const char *family, *dev, *argument;
	unsigned long seconds = 0;
	unsigned int i, len;
	struct stat st;
	int fd;

	argc -= 1 + in_flight;
	argv += 1 + in_flight;
	if (argc < 2 || argc > 3) {
		usage(stderr);
		return 2;
	}
	family = argv[0];
	dev = argv[1];
	if (argc == 3)
		seconds = strtoul(argv[2], NULL, 10);
	len = strcspn(family, ":");
	argument = family[len] ? family + len + 1 : NULL;
	for (i = 0; i < FAMILIES; i++)
		if (strlen(families[i].name) == len &&
		    !strncmp(family, families[i].name, len))
			break;
	if (i == FAMILIES) {
		usage(stderr);
		return 2;
	}

	fd = families[i].hold(dev, argument);
	if (fstat(fd, &st) < 0)
		die("inode of the socket");
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (in_flight) {
		into_flight(fd);
		printf("holding %s by %s socket inode %lu in flight\n", dev,
		       families[i].name, (unsigned long)st.st_ino);
	} else {
		printf("holding %s by %s socket fd %d inode %lu\n", dev,
		       families[i].name, fd, (unsigned long)st.st_ino);
	}
	if (families[i].hold == hold_nfqueue) {
		char packet[4096];

		if (recv(fd, packet, sizeof(packet), 0) < 0)
			die("receiving from the queue");
		printf("queued a packet\n");
	}
	if (seconds)
		sleep(seconds);
	else
		pause();
	return 0;
}
