package numbered_test

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/tcplab/tcplab/peers/course/numbered"
)

func Example() {
	receiver, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer receiver.Close()
	sender, err := net.Dial("udp", receiver.LocalAddr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sender.Close()
	const messages = 10
	sent := make(chan error, 1)
	go func() {
		sent <- numbered.Send(context.Background(), sender, messages, time.Millisecond, time.Second)
	}()
	tally, err := numbered.ReceiveDatagrams(context.Background(), receiver, messages, 100*time.Millisecond)
	fmt.Println(<-sent, err)
	fmt.Println("lost", len(tally.Lost()), "doubled", tally.Duplicated, "swapped", tally.Swapped)
	// Output:
	// <nil> <nil>
	// lost 0 doubled 0 swapped 0
}
