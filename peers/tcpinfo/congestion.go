package tcpinfo

import "strconv"

// CongestionState is a state of congestion control: [Info]'s Ca_state, and what the tracepoint tcp_cong_state_set has
// (enum tcp_ca_state in include/uapi/linux/tcp.h).
type CongestionState uint8

// The states.
const (
	CongestionOpen     CongestionState = iota // nothing is wrong
	CongestionDisorder                        // duplicate ACKs or SACK blocks arrive
	CongestionCWR                             // the window is being reduced: ECN, or a full local queue
	CongestionRecovery                        // fast recovery
	CongestionLoss                            // a time-out, and what follows it
)

var congestionStates = [...]string{"Open", "Disorder", "CWR", "Recovery", "Loss"}

// String returns the name that ss(8) prints, such as "Recovery".
func (s CongestionState) String() string {
	if int(s) < len(congestionStates) {
		return congestionStates[s]
	}
	return "congestion state " + strconv.Itoa(int(s))
}

// MarshalText is String.
func (s CongestionState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
