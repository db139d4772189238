package impair_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns/netdev"
)

func ExampleNetem_Validate() {
	err := impair.Netem{
		Jitter: 5 * time.Millisecond,
		Loss:   impair.RandomLoss{Percent: 130},
	}.Validate()
	fmt.Println(err)

	if field, ok := errors.AsType[*invalid.FieldError](err); ok {
		fmt.Println("first:", field.Field)
	}
	// Output:
	// impairment field Jitter: 5ms is not allowed: want 0 to Delay, which is 0s
	// impairment field Loss.Percent: 130% is not allowed: want 0% to 100%
	// first: Jitter
}

func ExampleNetem_String() {
	fmt.Println(impair.Netem{
		Delay:  20 * time.Millisecond,
		Jitter: 2 * time.Millisecond,
		Loss:   impair.SimpleGilbert(1, 10),
		Rate:   impair.Rate{BitsPerSecond: 20 * impair.Mbit},
	})
	fmt.Println(impair.Netem{})
	// Output:
	// delay 20ms 2ms loss gemodel 1% 10% 100% 0% rate 20Mbit
	// perfect link
}

func ExampleNetem_MarshalJSON() {
	text, err := json.MarshalIndent(impair.Netem{
		Delay: 20 * time.Millisecond,
		Loss:  impair.RandomLoss{Percent: 1},
		Rate:  impair.Rate{BitsPerSecond: 20 * impair.Mbit},
	}, "", "  ")
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(string(text))
	// Output:
	// {
	//   "delay_ns": 20000000,
	//   "loss": {
	//     "model": "random",
	//     "percent": 1
	//   },
	//   "rate": {
	//     "bits_per_second": 20000000
	//   }
	// }
}

// The link of one direction, impaired and, in mid-run, made worse.
func ExampleApply() {
	router := netdev.Device{Name: "to-server"} // on the egress of a router
	bad := impair.Netem{Delay: 20 * time.Millisecond, Rate: impair.Rate{BitsPerSecond: 20 * impair.Mbit}}
	applied, err := impair.Apply(router, bad)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, note := range applied.Notes {
		fmt.Println(note)
	}

	bad.Loss = impair.RandomLoss{Percent: 1}
	if _, err := impair.Change(router, bad); err != nil {
		fmt.Println(err)
	}
}
