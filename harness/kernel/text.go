package kernel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// String returns a line in the manner of ss(8), without TCP_INFO:
//
//	ESTAB recv-q 0 send-q 2896 10.0.1.1:40000 10.0.2.2:80 timer on 204ms, 1 expired cubic
func (s Socket) String() string {
	var b strings.Builder
	remote := s.Remote.String()
	if s.Remote.Port() == 0 {
		remote = "*"
	}
	fmt.Fprintf(&b, "%v recv-q %d send-q %d %v %s", s.State, s.ReceiveQueue, s.SendQueue, s.Local, remote)
	if s.Timer.Kind != TimerOff && s.Timer.Kind != "" {
		fmt.Fprintf(&b, " timer %s %v", s.Timer.Kind, s.Timer.Expires)
		if s.Timer.Retransmits > 0 {
			fmt.Fprintf(&b, ", %d expired", s.Timer.Retransmits)
		}
	}
	if s.Congestion != "" {
		b.WriteString(" " + s.Congestion)
	}
	return b.String()
}

// detailWidth is where lines of Details are wrapped, in bytes.
const detailWidth = 110

// Details returns what [Socket.String] leaves out: the nonzero values of TCP_INFO, memory
// and congestion control, by the kernel's names, in lines of up to some 110 bytes; "" if
// there are none.
func (s Socket) Details() string {
	var words []string
	for _, part := range []struct {
		name  string
		value any
		given bool
	}{
		{"tcp_info", s.TCPInfo, s.TCPInfo != nil},
		{"skmem", s.Memory, s.Memory != nil},
		{"bbr", s.BBR, s.BBR != nil},
		{"vegas", s.Vegas, s.Vegas != nil},
		{"dctcp", s.DCTCP, s.DCTCP != nil},
	} {
		if part.given {
			words = append(append(words, part.name), fields(part.value)...)
		}
	}
	var b strings.Builder
	width := 0
	for _, word := range words {
		switch {
		case width == 0:
		case width+1+len(word) > detailWidth:
			b.WriteByte('\n')
			width = 0
		default:
			b.WriteByte(' ')
			width++
		}
		b.WriteString(word)
		width += len(word)
	}
	return b.String()
}

// fields returns "name:value" of what is not zero in the JSON object that v is, in its order.
func fields(v any) []string {
	text, err := json.Marshal(v)
	if err != nil {
		return []string{err.Error()}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var words []string
	for name := ""; ; {
		token, err := d.Token()
		if err != nil {
			return words
		}
		switch token := token.(type) {
		case string:
			name = token
		case json.Number:
			if token.String() != "0" {
				words = append(words, name+":"+token.String())
			}
		}
	}
}

// String returns a line such as
//
//	0.050113s client 10.0.1.1:40000 10.0.2.2:80 inet_sock_set_state SYN-SENT > ESTAB
func (e Event) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%.6fs", e.At.Seconds())
	if e.Host != "" {
		b.WriteString(" " + e.Host)
	}
	if e.Local.IsValid() {
		fmt.Fprintf(&b, " %v %v", e.Local, e.Remote)
	}
	_, name, _ := strings.Cut(string(e.Kind), "/")
	b.WriteString(" " + name)
	switch e.Kind {
	case StateChange:
		fmt.Fprintf(&b, " %v > %v", e.Old, e.New)
	case Retransmit, ResetSent:
		if e.State != 0 {
			fmt.Fprintf(&b, " in %v", e.State)
		}
	case CongestionChange:
		if e.Congestion != nil {
			fmt.Fprintf(&b, " %v", *e.Congestion)
		}
	case Probe:
		if p := e.Probe; p != nil {
			fmt.Fprintf(&b, " cwnd %d ssthresh %d srtt %d us snd_wnd %d rcv_wnd %d nxt %d una %d len %d",
				p.SndCwnd, p.Ssthresh, p.SRTT, p.SndWnd, p.RcvWnd, p.SndNxt, p.SndUna, p.DataLen)
		}
	}
	if e.Reason != "" {
		b.WriteString(" " + e.Reason)
	}
	if e.Err != 0 {
		fmt.Fprintf(&b, " error %d", e.Err)
	}
	return b.String()
}
