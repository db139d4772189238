package middlebox_test

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/impair/middlebox"
)

// A box is checked before the kernel is touched.
func ExampleBox_Validate() {
	fmt.Println(middlebox.Box{NAT: true, IdleTimeout: time.Minute}.Validate())
	fmt.Println(middlebox.Box{StripOptions: []middlebox.Option{middlebox.SACKPermitted, middlebox.Timestamps}}.Validate())
	// Output:
	// middlebox field Outside is not set: NAT and Firewall need the device where the world is
	// <nil>
}

// The whole use: it needs root, and changes the namespace that it runs in.
func ExampleApply() {
	box := middlebox.Box{NAT: true, Outside: "tcplab-none", IdleTimeout: 5 * time.Minute, Unknown: middlebox.Reset}
	namespace := -1 // of a router: netns.Host has one
	installed, err := middlebox.Apply(namespace, box)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() {
		if err := installed.Remove(); err != nil {
			fmt.Println(err)
		}
	}()
	counts, err := installed.Counts()
	fmt.Println(counts, err)
}
