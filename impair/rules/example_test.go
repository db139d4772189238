package rules_test

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/netns/netdev"
)

// Rules read as what they do.
func ExampleRule() {
	for _, rule := range []rules.Rule{
		rules.Drop(rules.SYN.First(2)),
		rules.Drop(rules.Data.Number(20).Times(2)),
		rules.Delay(30*time.Millisecond, rules.Data.Number(5)),
		rules.Drop(rules.PureACK.Every(2).SourcePort(80)),
		rules.Blackhole().After(time.Second).For(300 * time.Millisecond),
	} {
		fmt.Println(rule)
	}
	// Output:
	// drop SYN 1 to 2
	// drop data 20, 2 times
	// delay 30ms data 5
	// drop pure ACK, one of 2, from port 80
	// drop packet, after 1s, for 300ms
}

// A rule is checked before the kernel is touched.
func ExampleRule_Validate() {
	fmt.Println(rules.Drop(rules.SYN.First(0)).Validate())
	// Output:
	// Match.First: 1 to 0 is not allowed: want numbers from 1, in rising order
}

// The whole use: it needs root.
func ExampleOpen() {
	set, err := rules.Open(netdev.Device{Name: "eth1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer set.Close()
	if _, err := set.Add(rules.Drop(rules.Data.Number(5))); err != nil {
		fmt.Println(err)
		return
	}
	time.Sleep(time.Second) // of traffic
	hits, err := set.Hits()
	if err != nil {
		fmt.Println(err)
	}
	for _, hit := range hits {
		fmt.Println(hit.Time, hit.Rule, hit.Number)
	}
}
