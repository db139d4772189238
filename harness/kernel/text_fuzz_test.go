package kernel

import (
	"strings"
	"testing"
)

// FuzzParseStats: what a file twice as long says is twice as much, whatever it is.
func FuzzParseStats(f *testing.F) {
	f.Add("entries: 3\noverrun: 18446744073709551615\ncommit overrun: 1\ndropped events: 0\n")
	f.Add("overrun: -1")
	f.Fuzz(func(t *testing.T, text string) {
		once, err := parseStats(strings.NewReader(text))
		twice, errTwice := parseStats(strings.NewReader(text + "\n" + text))
		if err == nil && (errTwice != nil || twice != bufferStats{2 * once.unread, 2 * once.read, 2 * once.lost}) {
			t.Errorf("%+v, and twice %+v, %v", once, twice, errTwice)
		}
	})
}
