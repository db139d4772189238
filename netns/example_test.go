package netns_test

import (
	"errors"
	"fmt"
	"log"
	"testing"

	"github.com/tcplab/tcplab/netns"
)

// A client and a server with a router between them. Without root the example says so and ends, hence it has no
// output to compare.
func ExampleRouted() {
	topology, err := netns.Routed(netns.Config{
		ClientSysctls: []netns.Setting{{Key: "net.ipv4.tcp_syn_retries", Value: "2"}},
	})
	if errors.Is(err, netns.ErrNotPermitted) || errors.Is(err, netns.ErrNotSupported) {
		fmt.Println(err)
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	defer topology.Close()

	for _, link := range topology.Links {
		fmt.Println(link.A, link.A.IPv4(), "-", link.B, link.B.IPv4())
	}
	fmt.Println("impair towards the server at", topology.ToServer)
	err = topology.Client().Do(func() error {
		// Sockets that are opened here belong to the client.
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
}

// go test does not run examples that have no output to compare.
func TestExamplesWithoutOutput(*testing.T) {
	ExampleRouted()
	ExampleGraph_Build()
}
