package liveness_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/tcplab/tcplab/peers/course/liveness"
)

// A client whose server accepts and then says nothing: Receive does not wait for ever.
func Example() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer listener.Close() // nobody accepts: the kernel does

	conn, err := liveness.Dial(context.Background(), listener.Addr().String(), liveness.Options{
		Dial: time.Second, Write: time.Second, Heartbeat: 20 * time.Millisecond, Silence: 100 * time.Millisecond,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	fmt.Println("send:", conn.Send([]byte("hello")))
	_, err = conn.Receive()
	fmt.Println("receive: silent:", errors.Is(err, liveness.ErrSilent))
	// Output:
	// send: <nil>
	// receive: silent: true
}
