package servers_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"strings"

	"github.com/tcplab/tcplab/peers/course/framing"
	"github.com/tcplab/tcplab/peers/course/servers"
)

func Example() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	server := servers.EdgeTriggered{Config: servers.Config{
		MaxClients: 1,
		Handle:     func(request []byte) ([]byte, error) { return []byte(strings.ToUpper(string(request))), nil },
	}}
	go func() { ended <- server.Serve(ctx, listener) }()

	for range 2 {
		client, err := servers.Dial(ctx, listener.Addr().String(), 0, framing.Timeouts{})
		if err != nil {
			log.Fatal(err)
		}
		defer client.Close()
		answer, err := client.Ask([]byte("hello"))
		fmt.Printf("%s %v\n", answer, err)
	}
	cancel()
	fmt.Println(<-ended)
	// Output:
	// HELLO <nil>
	//  the server refuses: busy
	// <nil>
}
