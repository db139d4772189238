package peers

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

// TCPInfo is the kernel's struct tcp_info (include/uapi/linux/tcp.h), the fields under the kernel's names: units are
// those of the kernel (rto, rtt, rttvar, min_rtt and the busy times in microseconds, the last_ times in milliseconds,
// rates in bytes per second).
//
// The fields of bits, which [unix.TCPInfo] leaves out, are added. In JSON, names are in lower case and in the
// kernel's order, and a field that the running kernel does not know is absent rather than 0 (see [TCPInfo.Has]).
type TCPInfo struct {
	unix.TCPInfo
	Snd_wscale                uint8 // window scale that the other side announced (RFC 7323)
	Rcv_wscale                uint8 // window scale that this side announced
	Delivery_rate_app_limited uint8 // 1 if delivery_rate is limited by the application
	Fastopen_client_fail      uint8 // enum tcp_fastopen_client_fail

	// Of ECN, valid since Linux 7.0 (6.18 and 6.19 have something else there, which is 0).
	Ecn_mode         uint8 // what was negotiated: TCPI_ECN_MODE_DISABLED 0, RFC3168 1, ACCECN 2, PENDING 3
	Accecn_opt_seen  uint8 // the other side's option: TCP_ACCECN_OPT_NOT_SEEN 0, EMPTY 1, COUNTER 2, FAIL 3
	Accecn_fail_mode uint8 // bits: TCP_ACCECN_ACE_FAIL_SEND 1, ACE_FAIL_RECV 2, OPT_FAIL_SEND 4, OPT_FAIL_RECV 8

	size uintptr // how many bytes the kernel filled
}

// Has reports whether the kernel filled the field with that name, in lower case as in JSON: "total_rto" is false
// before Linux 6.7.
func (t *TCPInfo) Has(name string) bool {
	for _, f := range tcpInfoFields {
		if f.name == name {
			return f.end <= t.size
		}
	}
	return false
}

// tcpInfoField is one field of struct tcp_info: its name, its end in the kernel's struct, and access to it here.
type tcpInfoField struct {
	name  string
	end   uintptr
	index []int
}

// tcpInfoFields lists the fields in the kernel's order.
var tcpInfoFields = func() []tcpInfoField {
	var fields []tcpInfoField
	outer := reflect.TypeFor[TCPInfo]()
	inner, _ := outer.FieldByName("TCPInfo")
	for f := range inner.Type.Fields() {
		if f.Name == "_" {
			continue
		}
		fields = append(fields, tcpInfoField{strings.ToLower(f.Name), f.Offset + f.Type.Size(), []int{0, f.Index[0]}})
		if f.Name == "Received_ce_bytes" {
			for _, name := range []string{"Ecn_mode", "Accecn_opt_seen", "Accecn_fail_mode"} {
				b, _ := outer.FieldByName(name)
				fields = append(fields, tcpInfoField{strings.ToLower(name), tcpInfoECN + 4, b.Index})
			}
		}
		if f.Name != "Options" {
			continue
		}
		// The two bytes of bit fields stand between tcpi_options and tcpi_rto.
		for i, name := range []string{"Snd_wscale", "Rcv_wscale", "Delivery_rate_app_limited", "Fastopen_client_fail"} {
			b, _ := outer.FieldByName(name)
			fields = append(fields, tcpInfoField{strings.ToLower(name), tcpInfoBits + 1 + uintptr(i/2), b.Index})
		}
	}
	return fields
}()

// tcpInfoBits is the offset of the two bytes of bit fields in struct tcp_info.
const tcpInfoBits = unsafe.Offsetof(unix.TCPInfo{}.Options) + 1

// tcpInfoECN is the offset of the 32 bits behind tcpi_received_ce_bytes.
const tcpInfoECN = unsafe.Offsetof(unix.TCPInfo{}.Received_ce_bytes) + 4

// MarshalJSON writes the fields that the kernel filled, in the kernel's order.
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
		b = strconv.AppendQuote(b, f.name)
		b = append(b, ':')
		b = strconv.AppendUint(b, v.FieldByIndex(f.index).Uint(), 10)
	}
	return append(b, '}'), nil
}

// UnmarshalJSON reads what MarshalJSON wrote. Names that this version does not know are refused.
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
			return fmt.Errorf("tcp_info: %s is %d, which does not fit into %s", f.name, value, field.Type())
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

// ParseTCPInfo parses the kernel's struct tcp_info, which may be shorter or longer than known here: it grows with
// each kernel.
func ParseTCPInfo(b []byte) *TCPInfo {
	t := &TCPInfo{}
	t.size = uintptr(copy(unsafe.Slice((*byte)(unsafe.Pointer(&t.TCPInfo)), unsafe.Sizeof(t.TCPInfo)), b))
	// Little-endian layout: the field that is declared first has the low bits.
	if t.size > tcpInfoBits+1 {
		t.Snd_wscale, t.Rcv_wscale = b[tcpInfoBits]&0xf, b[tcpInfoBits]>>4
		t.Delivery_rate_app_limited, t.Fastopen_client_fail = b[tcpInfoBits+1]&1, b[tcpInfoBits+1]>>1&3
	}
	if t.size >= tcpInfoECN+4 {
		t.Ecn_mode, t.Accecn_opt_seen, t.Accecn_fail_mode = b[tcpInfoECN]&3, b[tcpInfoECN]>>2&3, b[tcpInfoECN]>>4
	}
	return t
}

// getTCPInfo reads TCP_INFO of a socket. unix.GetsockoptTCPInfo hides how much of the struct the kernel filled: on an
// old kernel an absent field would look like a count of zero.
func getTCPInfo(fd int) (*TCPInfo, error) {
	var raw [unsafe.Sizeof(unix.TCPInfo{})]byte
	size := uint32(len(raw))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&raw[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return nil, errno
	}
	return ParseTCPInfo(raw[:size]), nil
}
