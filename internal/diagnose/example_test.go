package diagnose_test

import (
	"context"
	"fmt"

	"github.com/tcplab/tcplab/internal/diagnose"
)

// Nobody listens on port 1 (tcpmux) of most machines.
func ExampleRun() {
	report, err := diagnose.Run(context.Background(), diagnose.Options{Host: "127.0.0.1", Port: 1}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range report.Findings {
		fmt.Printf("%s: %s\n", f.Kind, f.Seen)
	}
	// Output: refused: a reset in answer to the SYN (ECONNREFUSED)
}
