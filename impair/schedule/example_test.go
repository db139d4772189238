package schedule_test

import (
	"fmt"
	"log"
	"time"

	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/schedule"
)

// A link that is down for 300 ms every 15 s, as a satellite's is at a handover.
func ExampleOutages() {
	up := impair.Netem{Delay: 25 * time.Millisecond}
	outages, err := schedule.Outages(up, 15*time.Second, 300*time.Millisecond)
	if err != nil {
		log.Fatal(err)
	}
	for _, t := range []time.Duration{0, 14_900 * time.Millisecond, 15 * time.Second} {
		netem, _ := outages.At(t)
		fmt.Println(t, netem)
	}
	// Output:
	// 0s delay 25ms
	// 14.9s delay 25ms loss 100%
	// 15s delay 25ms
}
