// Package netns builds hosts from network namespaces, and connects them by links. A host is an anonymous namespace, a
// link is a pair of veth interfaces, and a topology is any graph of these. Three topologies are ready-made.
//
//	topology, err := netns.Routed(netns.Config{})
//	if err != nil {
//		return err
//	}
//	defer topology.Close()
//	wait, err := topology.Server().Start(exec.Command("./server"))
//	err = topology.Client().Do(func() error { return dial(topology.Server().IPv4()) })
//
// # What it needs
//
// Root (CAP_SYS_ADMIN and CAP_NET_ADMIN), or root of a user namespace; a kernel with network namespaces, veth and
// IPv6; and /proc. No cgo and no ip(8). Errors say what is missing: [ErrNotPermitted], [ErrNotSupported]. It is
// tested on Linux 6.1 and 6.18.
//
// # Topologies and addresses
//
// Each link has a number n. Its prefixes are 10.0.n.0/24 and fd00:n::/64 (with the decimal digits of n). Its end A
// has address 1, its end B address 2. The last two bytes of an Ethernet address are these two numbers:
// 02:00:00:00:n:1. The interfaces of a host are eth0, eth1, ... in the order in which it is connected.
//
//	Direct      client ─────────────────── server
//	            eth0: 10.0.1.1    eth0: 10.0.1.2
//	                  fd00:1::1         fd00:1::2
//
//	Routed      client ──── link 1 ──── router ──── link 2 ──── server
//	            eth0: 10.0.1.1     eth0: .2  eth1: .1     eth0: 10.0.2.2
//	                  fd00:1::1                                 fd00:2::2
//
//	Dumbbell    client1 ── link 1 ──┐                        ┌── link 101 ── server1
//	            10.0.1.1            │                        │              10.0.101.2
//	            client2 ── link 2 ─ left ──── link 200 ─── right ─ link 102 ── server2
//	            10.0.2.1            │ eth0: .1     eth0: .2  │              10.0.102.2
//	            client3 ── link 3 ──┘                        └── link 103 ── server3
//
// Clients and servers have their router as the default gateway for both families, and all hosts of a topology reach
// each other. [Topology.ToServer] and [Topology.ToClient] name the ends at whose egress to impair that direction:
// eth1 and eth0 of the router, and the two ends of link 200.
//
// # Any topology
//
// A [Graph] declares hosts, routers and links by name. [Graph.Plan] decides on the rest, without root: addresses as above, a
// link's number being the place at which it is declared, and routes by the shortest path, for both families.
// [Graph.Build] sets it up. What is wrong with a graph is refused before anything is created.
//
//	var graph netns.Graph
//	client, server := graph.Host("client"), graph.Host("server")
//	r1, r2 := graph.Router("r1"), graph.Router("r2")
//	graph.Link(client, r1)
//	graph.Link(r1, r2, netns.LinkConfig{Name: "primary"})
//	backup := graph.Link(r1, r2, netns.LinkConfig{Name: "backup", MTU: 1400})
//	graph.Link(r2, server)
//	graph.Route(client, server, backup) // and nobody else's packets
//	topology, err := graph.Build()
//
// The ends of all links can be impaired: topology.Link("primary").A is r1's, as r1 is the first that the link was declared
// with. The examples of [Graph] are a chain, a parking lot, and two paths between a pair.
//
// # Nothing stays
//
// A namespace exists as long as a thread, a process, a socket or a file descriptor refers to it. It has no name and
// no mount here, so it is gone when this program is, however that ends, even by SIGKILL. The processes of
// [Host.Start] are killed then, but processes that these started are not. [Host.Close] and [Topology.Close] remove
// everything at once, daemons included; the kernel finishes that in the background within some milliseconds. Nothing
// changes outside of the namespaces, and no link is ever visible there.
//
// # Silence
//
// Links carry what the programs of the hosts send, and nothing else: a capture begins with the first SYN, and there
// is no ARP request that an impairment could lose or delay. So links are unicast only, between neighbours that are
// configured from the start:
//
//   - Interfaces are IFF_NOARP and not IFF_MULTICAST. The one keeps the kernel from address resolution, from
//     duplicate address detection, and from joining (and reporting) a solicited-node multicast group for each
//     address; the other from joining the routers' groups.
//   - The two ends know each other's Ethernet address by permanent neighbour entries.
//   - There are no IPv6 link-local addresses (addr_gen_mode is none), hence no router solicitations.
//
// As a consequence, a packet to an address that no host has is sent and lost: there is no "no route to host" after
// some seconds of unanswered ARP requests. [Host.Netlink] can turn on ARP or multicast.
//
// When a constructor returns, both ends of each link have a carrier, and their addresses accept packets.
//
// # Offload
//
// TCP passes packets of up to 64 KB to the device, for the network card to split. A qdisc would lose, delay and count
// such a packet as one. So links have gso_max_segs 1 at both ends, unless [LinkConfig].Offload or [Config].Offload is
// set.
//
// This also applies to links without netem. A router forwards a packet of many segments as one, and the next link
// splits it only after its qdisc (gso_features_check and validate_xmit_skb in net/core/dev.c). With offload on the
// client's link only, and netem at 20 Mbit/s on the router's, 306 of 724 segments arrived at the server within 100 us
// of the one before. Without offload none did: a segment takes 0.6 ms there. The packet count of such a netem does
// not show it, as it counts segments.
//
// # Sysctls
//
// These sysctls are set in each host first. The settings of [NewHost] and [Config] can override them:
//
//   - net.ipv4.tcp_no_metrics_save=1: a connection must not start with what an earlier one to the same host has
//     learnt (RTT, ssthresh, reordering). Results would depend on the order of experiments. (TCP Fast Open cookies
//     are kept all the same.)
//   - net.ipv4.ip_forward=0, net.ipv4.conf.{all,default}.rp_filter=0: a new namespace takes over these from the
//     machine's first one (net.core.devconf_inherit_init_net), so they would differ from machine to machine.
//   - net.ipv6.conf.all.disable_ipv6=0: it is 1 after booting with ipv6.disable_ipv6=1.
//   - net.ipv6.conf.default.addr_gen_mode=1: see Silence.
//
// Routers have the settings of [Forwarding]. [Host.Sysctls] lists what was set. A new namespace inherits
// net.ipv4.tcp_rmem, tcp_wmem and tcp_congestion_control from the machine (net/ipv4/tcp_ipv4.c, tcp_sk_init). To
// compare machines, set the first two, and choose the third for each socket.
//
// # Threads
//
// The network namespace belongs to the thread. Whatever this package does in a host, it does on an operating system
// thread of its own, which ends afterwards. It never uses the main thread, whose namespace /proc/self/net and
// /proc/net show. A program that imports this package needs no runtime.LockOSThread. In [Host.Do], read
// /proc/thread-self/net. Package net detects IPv6 once per process, at its first dial or listen: a program whose own
// namespace has no IPv6 should do that in a host.
//
// # Tests
//
//	go test ./netns                      # what needs root is skipped without it
//	sudo go test ./netns                 # all of it
//	sudo go test ./netns -run xxx -bench .
//
// With TCPLAB_REQUIRE=1, tests fail where they would be skipped.
package netns
