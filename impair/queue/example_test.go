package queue_test

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/queue"
	"github.com/tcplab/tcplab/netns/netdev"
)

func ExampleQueue() {
	q := queue.Queue{
		Bottleneck: queue.Bottleneck{BitsPerSecond: 20 * impair.Mbit},
		Discipline: queue.FQCoDel{Limit: 1000, Target: 5 * time.Millisecond, ECN: queue.On},
	}
	fmt.Println(q)
	q.Discipline = queue.FQCoDel{Flows: -1}
	fmt.Println(q.Validate())
	// Output:
	// tbf rate 20Mbit, fq_codel limit 1000 target 5ms ecn
	// queue field FQCoDel.Flows: -1 is not allowed: want 0 (as the kernel has it), or 1 to 65536 queues
}

// The whole use: it needs root, and a device.
func ExampleApply() {
	device := netdev.Device{Name: "tcplab-none"}
	applied, err := queue.Apply(device, queue.Queue{Discipline: queue.Cake{BitsPerSecond: 20 * impair.Mbit}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(applied.Got, applied.Notes)
	stats, err := queue.ReadStats(device)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(stats[0].Marks(), stats[0].Own["dropped_packets"])
}
