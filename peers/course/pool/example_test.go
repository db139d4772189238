package pool_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"time"

	"github.com/tcplab/tcplab/peers/course/pool"
)

func Example() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					fmt.Fprintf(conn, "you said %s\n", lines.Text())
				}
			}()
		}
	}()

	connections := pool.New(pool.Config{
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String())
		},
		Max:         10,
		IdleTimeout: 30 * time.Second, // less than the server's, and than any middlebox's on the way
	})
	for _, text := range []string{"hello", "goodbye"} {
		conn, err := connections.Get(context.Background())
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Fprintln(conn, text)
		answer, _ := bufio.NewReader(conn).ReadString('\n')
		conn.Release()
		fmt.Print(answer)
	}
	fmt.Printf("%+v\n", connections.Stats())
	_ = connections.Shutdown(context.Background())
	// Output:
	// you said hello
	// you said goodbye
	// {Dialed:1 Reused:1 Closed:0 Expired:0 Mute:0}
}
