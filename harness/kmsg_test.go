package harness

import (
	"strings"
	"testing"
)

// FuzzParseKmsg: a line of the kernel's log is one line.
func FuzzParseKmsg(f *testing.F) {
	f.Add([]byte("6,339,5140900,-;NET: Registered protocol family 10\n SUBSYSTEM=acpi\n"))
	f.Add([]byte("6,1,-9223372036854775808,c;\x1b[31m;\xff"))
	f.Fuzz(func(t *testing.T, record []byte) {
		line, at, ok := parseKmsg(record)
		if !ok && (line != "" || at != 0) || strings.Contains(line, "\n") {
			t.Errorf("%q, %v, %v", line, at, ok)
		}
	})
}
