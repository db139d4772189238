package peers

import (
	"bytes"
	"encoding/json"
	"testing"
	"unsafe"
)

// FuzzTCPInfo: whatever the kernel has filled of the structure, and whatever a record has of it.
func FuzzTCPInfo(f *testing.F) {
	f.Add(make([]byte, 104), []byte(`{"state":1,"total_retrans":3}`))
	f.Add(bytes.Repeat([]byte{0xff}, int(unsafe.Sizeof(TCPInfo{}.TCPInfo))+8), []byte(`{"rto":4294967295,"snd_wscale":255}`))
	f.Fuzz(func(t *testing.T, raw, text []byte) {
		read := TCPInfo{}
		if json.Unmarshal(text, &read) != nil {
			read = TCPInfo{}
		}
		for _, info := range []*TCPInfo{ParseTCPInfo(raw), &read} {
			written, err := json.Marshal(info)
			if err != nil {
				t.Fatal(err)
			}
			var back TCPInfo
			if err := json.Unmarshal(written, &back); err != nil {
				t.Fatalf("%s: %v", written, err)
			}
			if again, err := json.Marshal(back); err != nil || !bytes.Equal(written, again) {
				t.Errorf("%s became %s, %v", written, again, err)
			}
		}
	})
}
