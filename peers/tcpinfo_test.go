package peers

import (
	"encoding/json"
	"strings"
	"testing"
)

// An older kernel has less of struct tcp_info, a newer one more.
func TestTCPInfoOfOtherKernels(t *testing.T) {
	b := make([]byte, 400)
	for i := range b {
		b[i] = byte(i + 1)
	}
	full := ParseTCPInfo(b)
	for n := range b {
		info := ParseTCPInfo(b[:n])
		text, err := json.Marshal(info)
		if err != nil {
			t.Fatal(err)
		}
		var back TCPInfo
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if uintptr(n) <= full.size {
			for _, f := range tcpInfoFields {
				had := strings.Contains(string(text), `"`+f.name+`":`)
				if want := f.end <= uintptr(n); had != want || info.Has(f.name) != want || back.Has(f.name) != want {
					t.Fatalf("%d bytes: %s: JSON %v, Has %v, read back %v, want %v", n, f.name, had, info.Has(f.name), back.Has(f.name), want)
				}
			}
		}
	}
	if full.Snd_wscale != 7 || full.Rcv_wscale != 0 || full.Delivery_rate_app_limited != 0 || full.Fastopen_client_fail != 0 {
		t.Errorf("bits of 0x07 and 0x08: %+v", *full)
	}
	b[tcpInfoECN] = 0b1011_01_10
	if full = ParseTCPInfo(b); full.Ecn_mode != 2 || full.Accecn_opt_seen != 1 || full.Accecn_fail_mode != 11 {
		t.Errorf("bits of ECN: %+v", *full)
	}
	var info TCPInfo
	for _, bad := range []string{`{"state":256}`, `{"nothing":1}`, `[]`, `{"state":-1}`} {
		if err := json.Unmarshal([]byte(bad), &info); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
