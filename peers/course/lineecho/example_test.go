package lineecho_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"strings"

	"github.com/tcplab/tcplab/peers/course/lineecho"
)

func Example() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- lineecho.Server{}.Serve(ctx, listener) }()

	client, err := lineecho.Dial(ctx, listener.Addr().String(), lineecho.ClientOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, line := range []string{"hello", strings.Repeat("x", 2000)} {
		answer, err := client.Echo(line)
		var refused *lineecho.RefusedError
		if errors.As(err, &refused) {
			fmt.Println("refused:", refused.Reason)
			continue
		}
		fmt.Println(answer, err)
	}
	client.Close()
	cancel()
	fmt.Println(<-ended)
	// Output:
	// hello <nil>
	// refused: line too long: more than 1024 bytes
	// <nil>
}
