// Package exits has tests that end their process, or are skipped.
package exits

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

func TestExits(t *testing.T) { os.Exit(0) }

// What package testing does not see.
func TestExitsUnseen(t *testing.T) {
	t.Run("sub", func(t *testing.T) {
		fmt.Print("\x16--- PASS: TestExitsUnsee") // is no line of package testing's
		syscall.Exit(0)
	})
}

func TestSkipped(t *testing.T) {
	fmt.Print("no end of a line")
	t.Skip("not on a Sunday")
}

func TestPasses(t *testing.T) {
	t.Parallel()
	fmt.Print("no end of a line")
	t.Run("sub", func(t *testing.T) { t.Skip("a part") })
}

func BenchmarkNothing(b *testing.B) {
	for b.Loop() {
	}
}

func Example() {
	fmt.Println("nothing")
	// Output: nothing
}

func FuzzNothing(f *testing.F) {
	f.Add("x")
	f.Fuzz(func(*testing.T, string) {})
}
