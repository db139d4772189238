package closing_test

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/tcplab/tcplab/peers/course/closing"
)

func Example() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan error)
	go func() { served <- (&closing.Server{Limit: 1000}).Serve(ctx, listener) }()

	for _, document := range []string{"a short one", strings.Repeat("a long one", 1000)} {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(new(closing.Client).Upload(conn.(*net.TCPConn), strings.NewReader(document)))
	}
	cancel()
	<-served
	// Output:
	// 11 <nil>
	// 0 the document is too large for the server
}
