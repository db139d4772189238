package tcpinfo

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestJSON(t *testing.T) {
	info := Info{size: 104} // what Linux 2.6 fills, up to total_retrans
	info.State, info.Total_retrans, info.Snd_wscale, info.Rto = 1, 42, 7, 201000
	b, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	const head = `{"state":1,"ca_state":0,"retransmits":0,"probes":0,"backoff":0,"options":0,"snd_wscale":7,"rcv_wscale":0,` +
		`"delivery_rate_app_limited":0,"fastopen_client_fail":0,"rto":201000,"ato":0,`
	if s := string(b); !strings.HasPrefix(s, head) || !strings.HasSuffix(s, `,"total_retrans":42}`) {
		t.Errorf("%s", s)
	}
	var back Info
	if err := json.Unmarshal(b, &back); err != nil || back != info {
		t.Errorf("%+v, %v, expected %+v", back, err, info)
	}
	for name, want := range map[string]bool{"total_retrans": true, "pacing_rate": false, "none": false} {
		if info.Has(name) != want {
			t.Errorf("Has(%q) is %v", name, !want)
		}
	}
	for _, bad := range []string{`{"state":256}`, `{"rto":-1}`, `{"x":1}`, `[]`, `{"rto":"1"}`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

// Every field of the kernel's struct is there once.
func TestFields(t *testing.T) {
	seen := map[string]bool{}
	last := uintptr(0)
	for _, f := range fields {
		if seen[f.name] || f.end < last {
			t.Errorf("%s at %d after %d", f.name, f.end, last)
		}
		seen[f.name], last = true, f.end
	}
	if want := reflect.TypeFor[unix.TCPInfo]().NumField() - 1 + 4 + 3; len(fields) != want {
		t.Errorf("%d fields, expected %d", len(fields), want)
	}
}

// FuzzInfo: whatever the kernel has filled of the structure, and whatever a record has of it.
func FuzzInfo(f *testing.F) {
	f.Add(make([]byte, 104), []byte(`{"state":1,"total_retrans":3}`))
	f.Add(bytes.Repeat([]byte{0xff}, int(unsafe.Sizeof(Info{}.TCPInfo))+8), []byte(`{"rto":4294967295,"snd_wscale":255}`))
	f.Fuzz(func(t *testing.T, raw, text []byte) {
		read := Info{}
		if json.Unmarshal(text, &read) != nil {
			read = Info{}
		}
		for _, info := range []*Info{Parse(raw), &read} {
			written, err := json.Marshal(info)
			if err != nil {
				t.Fatal(err)
			}
			var back Info
			if err := json.Unmarshal(written, &back); err != nil {
				t.Fatalf("%s: %v", written, err)
			}
			if again, err := json.Marshal(back); err != nil || !bytes.Equal(written, again) {
				t.Errorf("%s became %s, %v", written, again, err)
			}
		}
	})
}
