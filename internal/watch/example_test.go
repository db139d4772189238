package watch_test

import (
	"fmt"

	"github.com/tcplab/tcplab/internal/watch"
)

// What a person types is a filter, and a filter is text again.
func ExampleParseFilter() {
	f, err := watch.ParseFilter("state CLOSE_WAIT :8080 10.0.0.0/8 nginx")
	fmt.Println(f, err)
	_, err = watch.ParseFilter("port http")
	fmt.Println(err)
	// Output:
	// nginx port 8080 state close-wait 10.0.0.0/8 <nil>
	// filter: port "http": want 1 to 65535
}
