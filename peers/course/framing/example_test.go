package framing_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"github.com/tcplab/tcplab/peers/course/framing"
)

func Example() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	prefixed := framing.Prefixed{Max: 100}
	go func() { ended <- framing.Server{Framing: prefixed}.Serve(ctx, listener) }()

	client, err := framing.Dial(ctx, listener.Addr().String(), prefixed, framing.Timeouts{})
	if err != nil {
		log.Fatal(err)
	}
	for _, message := range []string{"one", "two\nlines"} {
		if err := client.Send([]byte(message)); err != nil {
			log.Fatal(err)
		}
	}
	for range 2 {
		answer, err := client.Receive()
		fmt.Printf("%q %v\n", answer, err)
	}
	fmt.Println(client.Send(make([]byte, 101)))
	client.Close()
	cancel()
	fmt.Println(<-ended)
	// Output:
	// "one" <nil>
	// "two\nlines" <nil>
	// send a message: message too long: 101 bytes of at most 100
	// <nil>
}
