// Package tcpinfo is the kernel's struct tcp_info: what a TCP socket says of itself, by getsockopt(TCP_INFO) and by
// sock_diag.
//
// [Parse] takes the bytes of either, [Get] asks a socket. An older kernel fills less of the struct: [Info.Has] reports
// which fields it has filled, and JSON has only those.
//
// The package imports nothing of tcplab. Its layout is that of little-endian machines.
package tcpinfo

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

// Info is the kernel's struct tcp_info (include/uapi/linux/tcp.h), the fields under the kernel's names: units are
// those of the kernel (rto, rtt, rttvar, min_rtt and the busy times in microseconds, the last_ times in milliseconds,
// rates in bytes per second). Of a listener, Unacked is the length of the accept queue and Sacked its limit.
//
// The bit fields, which [unix.TCPInfo] leaves out, are added. In JSON, names are in lower case and in the
// kernel's order, and a field that the running kernel does not know is absent rather than 0 (see [Info.Has]).
type Info struct {
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
func (t *Info) Has(name string) bool {
	for _, f := range fields {
		if f.name == name {
			return f.end <= t.size
		}
	}
	return false
}

// field is one field of struct tcp_info: its name, its end in the kernel's struct, and access to it here.
type field struct {
	name  string
	end   uintptr
	index []int
}

// fields lists the fields in the kernel's order.
var fields = func() []field {
	var list []field
	outer := reflect.TypeFor[Info]()
	inner, _ := outer.FieldByName("TCPInfo")
	for f := range inner.Type.Fields() {
		if f.Name == "_" {
			continue
		}
		list = append(list, field{strings.ToLower(f.Name), f.Offset + f.Type.Size(), []int{0, f.Index[0]}})
		if f.Name == "Received_ce_bytes" {
			for _, name := range []string{"Ecn_mode", "Accecn_opt_seen", "Accecn_fail_mode"} {
				b, _ := outer.FieldByName(name)
				list = append(list, field{strings.ToLower(name), ecnOffset + 4, b.Index})
			}
		}
		if f.Name != "Options" {
			continue
		}
		// The two bytes of bit fields stand between tcpi_options and tcpi_rto.
		for i, name := range []string{"Snd_wscale", "Rcv_wscale", "Delivery_rate_app_limited", "Fastopen_client_fail"} {
			b, _ := outer.FieldByName(name)
			list = append(list, field{strings.ToLower(name), bitsOffset + 1 + uintptr(i/2), b.Index})
		}
	}
	return list
}()

// bitsOffset is the offset of the two bytes of bit fields in struct tcp_info.
const bitsOffset = unsafe.Offsetof(unix.TCPInfo{}.Options) + 1

// ecnOffset is the offset of the 32 bits after tcpi_received_ce_bytes.
const ecnOffset = unsafe.Offsetof(unix.TCPInfo{}.Received_ce_bytes) + 4

// MarshalJSON writes the fields that the kernel filled, in the kernel's order.
func (t Info) MarshalJSON() ([]byte, error) {
	v := reflect.ValueOf(t)
	b := []byte{'{'}
	for _, f := range fields {
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

// UnmarshalJSON reads what MarshalJSON wrote. A name that is no field, or a value that its field cannot hold, is an error.
func (t *Info) UnmarshalJSON(b []byte) error {
	var values map[string]uint64
	if err := json.Unmarshal(b, &values); err != nil {
		return fmt.Errorf("tcp_info: %w", err)
	}
	*t = Info{}
	v := reflect.ValueOf(t).Elem()
	for _, f := range fields {
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

// Parse decodes the kernel's struct tcp_info, or as much of it as there is: newer kernels fill more. Bytes after the
// fields that this package knows are ignored.
func Parse(b []byte) *Info {
	t := &Info{}
	t.size = uintptr(copy(unsafe.Slice((*byte)(unsafe.Pointer(&t.TCPInfo)), unsafe.Sizeof(t.TCPInfo)), b))
	// Little-endian layout: the field that is declared first has the low bits.
	if t.size > bitsOffset+1 {
		t.Snd_wscale, t.Rcv_wscale = b[bitsOffset]&0xf, b[bitsOffset]>>4
		t.Delivery_rate_app_limited, t.Fastopen_client_fail = b[bitsOffset+1]&1, b[bitsOffset+1]>>1&3
	}
	if t.size >= ecnOffset+4 {
		t.Ecn_mode, t.Accecn_opt_seen, t.Accecn_fail_mode = b[ecnOffset]&3, b[ecnOffset]>>2&3, b[ecnOffset]>>4
	}
	return t
}

// Get reads TCP_INFO of the TCP socket with that file descriptor. The error is the kernel's [unix.Errno].
//
// It does not use [unix.GetsockoptTCPInfo], which hides how much of the struct the kernel filled: a field that an old
// kernel does not know would look like a zero.
func Get(fd int) (*Info, error) {
	var raw [unsafe.Sizeof(unix.TCPInfo{})]byte
	size := uint32(len(raw))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&raw[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return nil, errno
	}
	return Parse(raw[:size]), nil
}
