package kernelversion_test

import (
	"fmt"

	"github.com/tcplab/tcplab/harness/kernelversion"
)

func Example() {
	version, err := kernelversion.Parse("6.1.0-18-amd64")
	if err != nil {
		panic(err)
	}
	fmt.Println(version, version.Release, version.AtLeast(6, 5))
	// Output: 6.1.0 6.1.0-18-amd64 false
}
