package watch

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/harness/kernel"
)

// Moved is a counter that has changed since the reading before.
type Moved struct {
	Name    string `json:"name"` // by nstat's names
	By      int64  `json:"by"`
	Total   int64  `json:"total"`             // since the namespace was made
	Meaning string `json:"meaning,omitempty"` // of those that tell of trouble
}

// meanings are of the counters that tell of trouble (Documentation/networking/snmp_counter.rst).
var meanings = map[string]string{
	"TcpAttemptFails":            "connects that failed",
	"TcpEstabResets":             "connections that were reset",
	"TcpInErrs":                  "segments that were damaged",
	"TcpOutRsts":                 "resets sent",
	"TcpRetransSegs":             "segments retransmitted",
	"TcpExtListenDrops":          "SYNs and ACKs that a listener dropped",
	"TcpExtListenOverflows":      "of these, as its accept queue was full",
	"TcpExtPruneCalled":          "receive buffers that were full",
	"TcpExtRcvPruned":            "segments dropped as a receive buffer was full",
	"TcpExtSyncookiesSent":       "SYN cookies: a SYN queue was full",
	"TcpExtTCPAbortOnClose":      "closed with data unread: reset",
	"TcpExtTCPAbortOnData":       "data came after close: reset",
	"TcpExtTCPAbortOnMemory":     "reset for want of memory",
	"TcpExtTCPAbortOnTimeout":    "given up: no answer to retransmits or probes",
	"TcpExtTCPBacklogDrop":       "segments dropped while a program held the socket",
	"TcpExtTCPFastRetrans":       "segments retransmitted by fast recovery",
	"TcpExtTCPFromZeroWindowAdv": "receive windows opened again",
	"TcpExtTCPLossProbes":        "tail loss probes",
	"TcpExtTCPLostRetransmit":    "retransmits that were lost, too",
	"TcpExtTCPMemoryPressures":   "TCP ran short of memory",
	"TcpExtTCPRcvQDrop":          "segments dropped for want of memory",
	"TcpExtTCPReqQFullDrop":      "SYNs dropped as the SYN queue was full",
	"TcpExtTCPSpuriousRTOs":      "time-outs that were needless (F-RTO)",
	"TcpExtTCPSynRetrans":        "SYNs and SYN-ACKs retransmitted",
	"TcpExtTCPTimeWaitOverflow":  "closed at once: too many in TIME-WAIT",
	"TcpExtTCPTimeouts":          "retransmission timers that expired",
	"TcpExtTCPToZeroWindowAdv":   "receive windows closed: a program does not read",
	"TcpExtTCPZeroWindowDrop":    "segments beyond a closed window",
	"TcpExtTCPWantZeroWindowAdv": "receive windows that should have closed",
	"IpInDiscards":               "packets dropped on the way in",
	"IpOutDiscards":              "packets dropped on the way out",
	"IpOutNoRoutes":              "packets without a route",
	"IpFragFails":                "packets too large to send on",
	"Ip6InTooBigErrors":          "packets too large to send on",
}

// Ranks of counters.
const (
	rankTrouble = iota
	rankTCP
	rankOther
)

func rank(m Moved) int {
	switch {
	case m.Meaning != "":
		return rankTrouble
	case strings.HasPrefix(m.Name, "Tcp"):
		return rankTCP
	}
	return rankOther
}

// moved are the counters that have changed: those that tell of trouble first, then TCP's, each by name.
func (w *Watcher) moved() ([]Moved, error) {
	now, err := kernel.ReadCounters(w.in)
	if err != nil {
		return nil, err
	}
	before := w.counters
	w.counters = now
	moved := []Moved{}
	if before == nil {
		return moved, nil
	}
	for name, value := range now {
		if by := value - before[name]; by != 0 {
			moved = append(moved, Moved{Name: name, By: by, Total: value, Meaning: meanings[name]})
		}
	}
	slices.SortFunc(moved, func(a, b Moved) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name))
	})
	return moved, nil
}
