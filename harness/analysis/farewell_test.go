package analysis

import (
	"slices"
	"testing"
)

func TestSaysFarewell(t *testing.T) {
	record := func(kind, version byte, body ...byte) []byte {
		return append([]byte{kind, 3, version, 0, byte(len(body))}, body...)
	}
	for _, tt := range []struct {
		name    string
		payload []byte
		want    bool
	}{
		{"nothing", nil, false},
		{"TLS 1.3", record(23, 3, make([]byte, 19)...), true},
		{"TLS 1.3, CCM_8", record(23, 3, make([]byte, 11)...), true},
		{"TLS 1.2, GCM", record(21, 3, make([]byte, 26)...), true},
		{"TLS 1.2, CBC", record(21, 3, make([]byte, 48)...), true},
		{"plain", record(21, 3, 1, 0), true},
		{"behind data", slices.Concat(record(23, 3, make([]byte, 200)...), record(23, 3, make([]byte, 19)...)), true},
		{"plain, but a failure of the handshake", record(21, 3, 2, 40), false},
		{"data of another length", record(23, 3, make([]byte, 20)...), false},
		{"a handshake message", record(22, 3, make([]byte, 19)...), false},
		{"a version that there is not", record(23, 9, make([]byte, 19)...), false},
		{"something else", make([]byte, 24), false},
	} {
		if got := saysFarewell(tt.payload, len(tt.payload)); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
		if tt.want && saysFarewell(tt.payload[:len(tt.payload)-1], len(tt.payload)) {
			t.Errorf("%s: although its end was not captured", tt.name)
		}
	}
}
