#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# What holds devices comes and goes, until the script is killed: addresses, routes,
# neighbours, nexthops, qdiscs, filters, VLAN, macvlan, bridge ports, sockets, and whole
# namespaces with veth pairs (churn). A few devices stay, and are what is looked at.

# over MAKE UNMAKE SECONDS: what is there stays for a while, as does its absence. A search
# takes some seconds: of what never rests nothing can be concluded, and nothing is.
over() { while :; do eval "$1" >/dev/null 2>&1; sleep "$3"; eval "$2" >/dev/null 2>&1; sleep "$3"; done; }

# All at once: what comes later is not among the types that were read.
for m in dummy veth bridge 8021q macvlan sch_prio sch_ingress cls_matchall act_mirred af_packet; do modprobe $m; done
ip link set lo up
for i in 0 1 2 3; do
	ip link add stay$i type dummy
	ip link set stay$i up
	ip address add 10.8$i.0.1/24 dev stay$i
	ip address add fd8$i::1/64 dev stay$i nodad
done
ip link add stays type veth peer name stayp
ip link set stays up
ip link set stayp up
ip link add brstay type bridge
ip link set brstay up

over 'ip address add 10.80.1.1/24 dev stay0; ip address add fd80:1::1/64 dev stay0; ip route add 10.90.0.0/16 via 10.80.0.9
	ip -6 route add fd90::/64 via fd80::9; ping -c 1 -W 1 10.80.0.7; ip neigh add 10.80.0.9 lladdr 02:00:00:00:00:09 dev stay0
	ip neigh add proxy 10.80.0.88 dev stay0' \
	'ip neigh del proxy 10.80.0.88 dev stay0; ip neigh flush dev stay0; ip route del 10.90.0.0/16; ip -6 route del fd90::/64
	ip address del 10.80.1.1/24 dev stay0; ip address del fd80:1::1/64 dev stay0' 11 &
over 'ip link add link stay1 name stay1.7 type vlan id 7; ip link set stay1.7 up; ip address add 10.81.7.1/24 dev stay1.7
	ip link add link stay1 name mstay type macvlan mode bridge; ip link set mstay up' 'ip link del stay1.7; ip link del mstay' 17 &
over 'tc qdisc replace dev stay2 root handle 1: prio; tc qdisc replace dev stay2 parent 1:1 handle 10: pfifo
	tc qdisc add dev stay2 clsact; tc filter add dev stay2 ingress matchall action mirred egress redirect dev stay3' \
	'tc qdisc del dev stay2 clsact; tc qdisc del dev stay2 root' 13 &
over 'ip link set stays master brstay; ip nexthop add id 5 via 10.83.0.9 dev stay3; ip route add 10.93.0.0/16 nhid 5' \
	'ip link set stays nomaster; ip route del 10.93.0.0/16; ip nexthop del id 5; ip link set stays down; ip link set stays up' 19 &
over 'sockhold packet stay3 15; sockhold udp:10.83.0.7 stay3 15' : 9 &
exec churn -pairs "${PAIRS:-1}" -for "${FOR:-10h}"
