package broadcast_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"github.com/tcplab/tcplab/peers/course/broadcast"
	"github.com/tcplab/tcplab/peers/course/framing"
)

func Example() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- broadcast.Server{}.Serve(ctx, listener) }()

	join := func() *framing.Conn {
		client, err := broadcast.Dial(ctx, listener.Addr().String(), 0, framing.Timeouts{})
		if err != nil {
			log.Fatal(err)
		}
		return client
	}
	say := func(client *framing.Conn, message string) {
		if err := client.Send([]byte(message)); err != nil {
			log.Fatal(err)
		}
	}
	alice, bob := join(), join()
	defer alice.Close()
	defer bob.Close()
	say(alice, "hello") // whoever has joined gets it
	say(bob, "I am here")
	message, err := alice.Receive()
	fmt.Printf("%s %v\n", message, err)
	cancel()
	fmt.Println(<-ended)
	// Output:
	// I am here <nil>
	// <nil>
}
