package rules

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"testing"
)

// FuzzParseReport: what the kernel's ring has is taken apart as the program wrote it, and a packet is never longer
// than what was kept of it.
func FuzzParseReport(f *testing.F) {
	whole, err := binary.Append(nil, binary.NativeEndian, report{Time: 1 << 60, Rule: 1, Number: 3, Length: 1514, Captured: 54, ECN: 2})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(append(whole, 0, 0, 0, 0))
	f.Add(whole[:len(whole)-1])
	r := &reporter{}
	f.Fuzz(func(t *testing.T, sample []byte) {
		one, err := parseReport(sample)
		if (err == nil) != (len(sample) >= len(whole)) {
			t.Fatalf("%d bytes of %d: %v", len(sample), len(whole), err)
		}
		if err != nil {
			return
		}
		back, err := binary.Append(nil, binary.NativeEndian, one)
		if at := 40; err != nil || !bytes.Equal(back[:at-4], sample[:at-4]) || !bytes.Equal(back[at:], sample[at:len(whole)]) {
			t.Errorf("%x became %x, %v", sample, back, err)
		}
		packet := one.packet()
		if len(packet) > SnapLength || len(packet) > int(one.Captured) || !bytes.Equal(packet, one.Data[:len(packet)]) {
			t.Errorf("a packet of %d bytes, of %d captured", len(packet), one.Captured)
		}
		written, err := json.Marshal(Hit{Time: r.time(one), Packet: packet})
		var hit Hit
		if err == nil {
			err = json.Unmarshal(written, &hit)
		}
		if year := r.time(one).Year(); year <= 9999 && (err != nil || !bytes.Equal(hit.Packet, packet)) {
			t.Errorf("%s, %v", written, err)
		}
	})
}
