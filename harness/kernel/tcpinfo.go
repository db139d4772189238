package kernel

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TCPInfo is the kernel's struct tcp_info (include/uapi/linux/tcp.h), under the
// kernel's names and in its units: rto, ato, rtt, rttvar, min_rtt, rcv_rtt and the
// three busy times in microseconds, the last_ times in milliseconds, windows and
// MSS in bytes, snd_cwnd and snd_ssthresh in segments, rates in bytes per second.
// rcv_ssthresh is in bytes.
//
// Of a listener, unacked is the length of the accept queue and sacked its limit.
//
// In JSON, names are in lower case and in the kernel's order, and a field that the
// running kernel does not know is left out.
type TCPInfo struct {
	unix.TCPInfo
	Snd_wscale                uint8 // by how much to shift the windows that the other side announces (RFC 7323)
	Rcv_wscale                uint8 // the same for this side's announcements
	Delivery_rate_app_limited uint8 // 1 if the application limited delivery_rate
	Fastopen_client_fail      uint8 // enum tcp_fastopen_client_fail

	size int // how many bytes the kernel filled
}

// parseTCPInfo takes as much as there is: the struct grows with the kernels.
func parseTCPInfo(b []byte) *TCPInfo {
	t := &TCPInfo{}
	t.size = copy(unsafe.Slice((*byte)(unsafe.Pointer(&t.TCPInfo)), unsafe.Sizeof(t.TCPInfo)), b)
	// The bit fields, which unix.TCPInfo leaves out. On little-endian machines the
	// field that is declared first has the low bits.
	if t.size > tcpInfoBits+1 {
		t.Snd_wscale, t.Rcv_wscale = b[tcpInfoBits]&0xf, b[tcpInfoBits]>>4
		t.Delivery_rate_app_limited, t.Fastopen_client_fail = b[tcpInfoBits+1]&1, b[tcpInfoBits+1]>>1&3
	}
	return t
}

// Has tells whether the kernel filled the field with that name, in lower case as
// in JSON: "total_rto" is false before Linux 6.7.
func (t *TCPInfo) Has(name string) bool {
	return slices.ContainsFunc(tcpInfoFields, func(f tcpInfoField) bool {
		return f.name == name && f.end <= t.size
	})
}

// tcpInfoBits is the offset of the two bytes of bit fields, behind tcpi_options.
const tcpInfoBits = int(unsafe.Offsetof(unix.TCPInfo{}.Options)) + 1

type tcpInfoField struct {
	name  string
	end   int   // offset behind it in the kernel's struct
	index []int // of the field in TCPInfo
}

// tcpInfoFields lists the fields in the kernel's order.
var tcpInfoFields = func() []tcpInfoField {
	var fields []tcpInfoField
	for f := range reflect.TypeFor[unix.TCPInfo]().Fields() {
		if f.Name != "_" {
			fields = append(fields, tcpInfoField{strings.ToLower(f.Name), int(f.Offset + f.Type.Size()), []int{0, f.Index[0]}})
		}
	}
	for i, name := range []string{"Snd_wscale", "Rcv_wscale", "Delivery_rate_app_limited", "Fastopen_client_fail"} {
		f, _ := reflect.TypeFor[TCPInfo]().FieldByName(name)
		fields = append(fields, tcpInfoField{strings.ToLower(name), tcpInfoBits + 1 + i/2, f.Index})
	}
	slices.SortStableFunc(fields, func(a, b tcpInfoField) int { return a.end - b.end })
	return fields
}()

// MarshalJSON writes the fields that the kernel filled.
func (t TCPInfo) MarshalJSON() ([]byte, error) {
	v := reflect.ValueOf(t)
	b := []byte{'{'}
	for _, f := range tcpInfoFields {
		if f.end > t.size {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(strconv.AppendQuote(b, f.name), ':')
		b = strconv.AppendUint(b, v.FieldByIndex(f.index).Uint(), 10)
	}
	return append(b, '}'), nil
}

// UnmarshalJSON reads what MarshalJSON wrote. Unknown names are refused.
func (t *TCPInfo) UnmarshalJSON(b []byte) error {
	var values map[string]uint64
	if err := json.Unmarshal(b, &values); err != nil {
		return fmt.Errorf("tcp_info: %w", err)
	}
	*t = TCPInfo{}
	v := reflect.ValueOf(t).Elem()
	for _, f := range tcpInfoFields {
		value, ok := values[f.name]
		if !ok {
			continue
		}
		field := v.FieldByIndex(f.index)
		if field.OverflowUint(value) {
			return fmt.Errorf("tcp_info: %s is %d, too large for %s", f.name, value, field.Type())
		}
		field.SetUint(value)
		t.size = max(t.size, f.end)
		delete(values, f.name)
	}
	if len(values) > 0 {
		return fmt.Errorf("tcp_info: unknown fields %q", slices.Sorted(maps.Keys(values)))
	}
	return nil
}
