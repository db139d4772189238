package kernel

import (
	"fmt"
	"strconv"
)

// State is a TCP state, with the kernel's number (include/net/tcp_states.h).
type State uint8

// The states of RFC 9293, and the kernel's NewSynRecv: a connection of which the
// server has only the SYN, and no whole socket yet. sock_diag calls that SynRecv.
const (
	Established State = iota + 1
	SynSent
	SynRecv
	FinWait1
	FinWait2
	TimeWait
	Close
	CloseWait
	LastAck
	Listen
	Closing
	NewSynRecv
)

// The names of ss(8), and of the kernel.
var states = [...]struct{ short, kernel string }{
	Established: {"ESTAB", "TCP_ESTABLISHED"},
	SynSent:     {"SYN-SENT", "TCP_SYN_SENT"},
	SynRecv:     {"SYN-RECV", "TCP_SYN_RECV"},
	FinWait1:    {"FIN-WAIT-1", "TCP_FIN_WAIT1"},
	FinWait2:    {"FIN-WAIT-2", "TCP_FIN_WAIT2"},
	TimeWait:    {"TIME-WAIT", "TCP_TIME_WAIT"},
	Close:       {"UNCONN", "TCP_CLOSE"},
	CloseWait:   {"CLOSE-WAIT", "TCP_CLOSE_WAIT"},
	LastAck:     {"LAST-ACK", "TCP_LAST_ACK"},
	Listen:      {"LISTEN", "TCP_LISTEN"},
	Closing:     {"CLOSING", "TCP_CLOSING"},
	NewSynRecv:  {"NEW-SYN-RECV", "TCP_NEW_SYN_RECV"},
}

func (s State) known() bool { return s >= Established && s <= NewSynRecv }

// String returns the name that ss(8) prints: "ESTAB", "FIN-WAIT-1", "UNCONN".
func (s State) String() string {
	if !s.known() {
		return "state " + strconv.Itoa(int(s))
	}
	return states[s].short
}

// MarshalText returns the kernel's name, such as "TCP_FIN_WAIT1", and nothing for
// the zero State.
func (s State) MarshalText() ([]byte, error) {
	if s == 0 {
		return nil, nil
	}
	if !s.known() {
		return nil, fmt.Errorf("tcp state %d: want 1 to %d", s, NewSynRecv)
	}
	return []byte(states[s].kernel), nil
}

// UnmarshalText takes the kernel's name or that of ss(8).
func (s *State) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*s = 0
		return nil
	}
	for i := Established; i.known(); i++ {
		if t := string(text); t == states[i].kernel || t == states[i].short {
			*s = i
			return nil
		}
	}
	return fmt.Errorf("tcp state %q: want a name such as TCP_ESTABLISHED or ESTAB", text)
}
