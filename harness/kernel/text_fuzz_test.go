package kernel

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// FuzzParseText: files of tracefs and /proc/kallsyms.
func FuzzParseText(f *testing.F) {
	f.Add("entries: 3\noverrun: 18446744073709551615\ncommit overrun: 1\ndropped events: 0\n")
	f.Add("ffffffff81a0b1c0 T tcp_v4_rcv\t[tcp]\nffffffff81a0b2c0 t x\n0000000000000000 A zero\n")
	addresses := []uint64{1, 0x1000, 0xffffffff81a0b1c4, 0xffffffff81a0b2c0}
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = parseStats(strings.NewReader(text))
		names, err := parseSymbols(strings.NewReader(text), addresses)
		for address := range maps.Keys(names) {
			if !slices.Contains(addresses, address) {
				t.Errorf("%#x was not asked for: %v, %v", address, names, err)
			}
		}
	})
}
