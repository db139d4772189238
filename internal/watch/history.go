package watch

import (
	"slices"

	"github.com/tcplab/tcplab/harness/kernel"
)

// counts are sockets by state. What sock_diag calls SYN-RECV has no whole socket mostly.
type counts [kernel.NewSynRecv + 1]int

// mostHistory is how many readings are remembered.
const mostHistory = 600

// histories are the counts of the last readings, the latest last.
type histories struct {
	list []counts
	seen [kernel.NewSynRecv + 1]bool
}

// stateOrder is that of a connection's life.
var stateOrder = []kernel.State{
	kernel.Listen, kernel.SynSent, kernel.SynRecv, kernel.Established, kernel.FinWait1, kernel.FinWait2, kernel.Closing, kernel.TimeWait,
	kernel.CloseWait, kernel.LastAck, kernel.Close,
}

// add takes the counts of a reading, and returns them with what came before, and their sum.
func (h *histories) add(c counts) (states []StateCount, sum int) {
	c[kernel.SynRecv] += c[kernel.NewSynRecv]
	c[kernel.NewSynRecv] = 0
	if len(h.list) == mostHistory {
		h.list = slices.Delete(h.list, 0, 1)
	}
	h.list = append(h.list, c)
	states = []StateCount{}
	for _, state := range stateOrder {
		h.seen[state] = h.seen[state] || c[state] > 0
		if !h.seen[state] {
			continue
		}
		history := make([]int, len(h.list))
		for i := range h.list {
			history[i] = h.list[i][state]
		}
		states = append(states, StateCount{state, c[state], history})
		sum += c[state]
	}
	return states, sum
}
