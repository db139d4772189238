package peers_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"

	"github.com/tcplab/tcplab/peers"
	"golang.org/x/sys/unix"
)

// A transfer between two processes. TestMain (or main) calls peers.Main.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // kills what still runs

	// nil: on this machine. A host of a lab is given here otherwise.
	server, err := peers.Start(ctx, nil, "server", peers.BulkServer{Listen: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		log.Fatal(err)
	}
	ready, err := server.Ready(ctx)
	if err != nil {
		log.Fatal(err)
	}
	client, err := peers.Start(ctx, nil, "client", peers.BulkClient{Connect: ready.Addr, Bytes: 1 << 20, Socket: peers.Socket{Congestion: "reno"}})
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range []*peers.Peer{client, server} {
		r, err := p.Wait(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(p.Name(), r.Bulk.Bytes, "bytes,", r.Connections[0].TCPInfo.Unacked, "segments unacknowledged")
	}
	// Output:
	// client 1048576 bytes, 0 segments unacknowledged
	// server 1048576 bytes, 0 segments unacknowledged
}

// A connect(2) that fails is what Dial is there to tell of: Wait has no error.
func ExampleDial() {
	ctx := context.Background()
	// Port 1 on loopback (tcpmux): nobody listens there.
	client, err := peers.Start(ctx, nil, "client", peers.Dial{Connect: netip.MustParseAddrPort("127.0.0.1:1"), Count: 2})
	if err != nil {
		log.Fatal(err)
	}
	r, err := client.Wait(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range r.Connections {
		fmt.Println(c.Remote, c.Err.Errno, errors.Is(c.Err, unix.ECONNREFUSED))
	}
	// Output:
	// 127.0.0.1:1 ECONNREFUSED true
	// 127.0.0.1:1 ECONNREFUSED true
}

// A server that never accepts: with a backlog of 1 the kernel makes 2 connections, and does not answer to a third.
func ExampleAccept() {
	ctx := context.Background()
	server, err := peers.Start(ctx, nil, "server", peers.Accept{
		Listen: netip.MustParseAddrPort("127.0.0.1:0"), Backlog: 1, Never: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	ready, err := server.Ready(ctx)
	if err != nil {
		log.Fatal(err)
	}
	client, err := peers.Start(ctx, nil, "client", peers.Dial{Connect: ready.Addr, Count: 2})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Wait(ctx); err != nil {
		log.Fatal(err)
	}
	r, err := server.Stop(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%+v\n", *r.Accept)
	// Output:
	// {Backlog:1 Queued:2 Accepted:0}
}

// Three writes after the other side has closed: the first is taken, and answered with an RST; then it is EPIPE.
func ExampleScript() {
	ctx := context.Background()
	server, err := peers.Start(ctx, nil, "server", peers.Script{
		Listen: netip.MustParseAddrPort("127.0.0.1:0"),
		Steps:  peers.Steps(peers.Close(), peers.Await()), // closed, but the process is still there
	})
	if err != nil {
		log.Fatal(err)
	}
	ready, err := server.Ready(ctx)
	if err != nil {
		log.Fatal(err)
	}
	client, err := peers.Start(ctx, nil, "client", peers.Script{
		Connect: ready.Addr,
		Steps: peers.Steps(
			peers.ReadAll(), // up to the server's FIN
			peers.Write(1),
			peers.Await(), // here a spec would look at the packets, or change the link
			peers.Try(peers.Repeat(2, peers.Write(1))),
		),
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range []*peers.Peer{client, server} {
		if err := p.Continue(ctx); err != nil {
			log.Fatal(err)
		}
	}
	r, err := client.Wait(ctx)
	if err != nil {
		log.Fatal(err) // not for EPIPE, which is tried
	}
	for _, step := range r.Connections[0].Steps {
		fmt.Println(step.Step, step.Bytes, errors.Is(step.Err, unix.EPIPE))
	}
	// Output:
	// read-all 0 false
	// write 1 1 false
	// await 0 false
	// write 1 0 true
	// write 1 0 true
}

// Any other program can be a peer; its exit status is a result.
func ExampleCommand() {
	ctx := context.Background()
	p, err := peers.Start(ctx, nil, "script", peers.Command{Path: "/bin/sh", Args: []string{"-c", "echo hello; exit 3"}})
	if err != nil {
		log.Fatal(err)
	}
	r, err := p.Wait(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%q %d\n", r.Command.Stdout, r.Command.ExitCode)
}
