package netns_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/tcplab/tcplab/netns"
)

// A chain of five routers. What a graph becomes can be seen without root.
func ExampleGraph() {
	var net netns.Graph
	last := net.Host("client")
	for i := 1; i <= 5; i++ {
		router := net.Router(fmt.Sprintf("r%d", i))
		net.Link(last, router)
		last = router
	}
	net.Link(last, net.Host("server"))

	plan, err := net.Plan()
	if err != nil {
		log.Fatal(err)
	}
	server := plan.Hosts[6]
	fmt.Println(server.Name, server.Ends[0].IPv4, server.Ends[0].IPv6)
	for _, route := range plan.Hosts[5].Routes {
		fmt.Println("r5:", route)
	}
	path, err := plan.Path("client", server.Ends[0].IPv4.Addr())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(path)
	// Output:
	// server 10.0.6.2/24 fd00:6::2/64
	// r5: 10.0.1.0/24 via 10.0.5.1
	// r5: fd00:1::/64 via fd00:5::1
	// r5: 10.0.2.0/24 via 10.0.5.1
	// r5: fd00:2::/64 via fd00:5::1
	// r5: 10.0.3.0/24 via 10.0.5.1
	// r5: fd00:3::/64 via fd00:5::1
	// r5: 10.0.4.0/24 via 10.0.5.1
	// r5: fd00:4::/64 via fd00:5::1
	// [client/eth0 r1/eth1 r2/eth1 r3/eth1 r4/eth1 r5/eth1]
}

// A parking lot: one flow passes both bottlenecks, and each of the two others one of them. To build it takes root.
func ExampleGraph_Build() {
	var net netns.Graph
	r1, r2, r3 := net.Router("r1"), net.Router("r2"), net.Router("r3")
	first := net.Link(r1, r2, netns.LinkConfig{Name: "first"})
	second := net.Link(r2, r3, netns.LinkConfig{Name: "second"})
	net.Link(net.Host("long-client"), r1)
	net.Link(net.Host("long-server"), r3)
	net.Link(net.Host("client1"), r1)
	net.Link(net.Host("server1"), r2)
	net.Link(net.Host("client2"), r2)
	net.Link(net.Host("server2"), r3)

	topology, err := net.Build()
	if errors.Is(err, netns.ErrNotPermitted) || errors.Is(err, netns.ErrNotSupported) {
		fmt.Println(err)
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	defer topology.Close()
	fmt.Println("impair towards the servers at", topology.Link(first).A, "and", topology.Link(second).A)
	fmt.Println("the long flow's server is", topology.Host("long-server").IPv4())
}

// Two paths that are equally long: by the rule all packets take the one whose first link was declared first. The second
// client's are sent over the other, and so are the answers.
func ExampleGraph_Route() {
	var net netns.Graph
	left, right, upper, lower := net.Router("left"), net.Router("right"), net.Router("upper"), net.Router("lower")
	net.Link(left, upper)
	net.Link(upper, right)
	net.Link(left, lower)
	over := net.Link(lower, right)
	client1, client2, server := net.Host("client1"), net.Host("client2"), net.Host("server")
	net.Link(client1, left)
	net.Link(client2, left)
	net.Link(right, server)
	net.Route(client2, server, over)
	net.Route(server, client2, over)

	plan, err := net.Plan()
	if err != nil {
		log.Fatal(err)
	}
	for _, client := range plan.Hosts[4:6] {
		there, err := plan.Path(client.Name, plan.Hosts[6].Ends[0].IPv6.Addr())
		if err != nil {
			log.Fatal(err)
		}
		back, err := plan.Path(server, client.Ends[0].IPv6.Addr())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(there, back)
	}
	fmt.Println("left:", plan.Hosts[0].Routes[6])
	// Output:
	// [client1/eth0 left/eth0 upper/eth1 right/eth2] [server/eth0 right/eth0 upper/eth0 left/eth2]
	// [client2/eth0 left/eth1 lower/eth1 right/eth2] [server/eth0 right/eth1 lower/eth0 left/eth3]
	// left: from 10.0.6.1/32 to 10.0.7.2/32 via 10.0.3.2
}
