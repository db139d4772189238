package reconnect_test

import (
	"context"
	"fmt"
	"net"

	"github.com/tcplab/tcplab/peers/course/reconnect"
)

func Example() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	server := &reconnect.Server{Ledger: reconnect.NewLedger(), Handle: func(_, number uint64, payload []byte) {
		fmt.Printf("message %d: %s\n", number, payload)
	}}
	served := make(chan error)
	go func() { served <- server.Serve(ctx, listener) }()

	client := reconnect.New(reconnect.Config{ID: 42, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String())
	}})
	ran := make(chan error)
	go func() { ran <- client.Run(ctx) }()
	for _, text := range []string{"hello", "world"} {
		if err := client.Send(ctx, []byte(text)); err != nil {
			fmt.Println(err)
		}
	}
	cancel()
	<-ran
	<-served
	// Output:
	// message 1: hello
	// message 2: world
}
