// Package golden compares what a test has made with a file in testdata, which the flag -update of go test writes anew.
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files in testdata anew")

// Compare fails the test where got is not what testdata has under the name, and says the first line that differs.
func Compare(t testing.TB, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if difference := differ(string(got), string(want)); difference >= 0 {
		t.Fatalf("%s, line %d:\n%s\nwant\n%s\n(if that is meant: go test -update)",
			path, difference+1, line(string(got), difference), line(string(want), difference))
	}
}

// differ is the first line, from 0, in which two texts differ, or -1.
func differ(a, b string) int {
	if a == b {
		return -1
	}
	n := 0
	for line(a, n) == line(b, n) {
		n++
	}
	return n
}

// line is a line of a text, or what stands for one behind its end.
func line(text string, n int) string {
	lines := strings.Split(text, "\n")
	if n >= len(lines) {
		return "(the end)"
	}
	return lines[n]
}
