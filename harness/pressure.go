package harness

import (
	"fmt"
	"strings"

	"github.com/tcplab/tcplab/harness/kernel"
)

// pressureCounters grow when TCP runs out of memory for its buffers, and then does what the link did not make it do: it
// shrinks windows, and drops segments that have arrived.
var pressureCounters = []string{
	"TcpExtTCPMemoryPressures", // net/core/sock.c: __sk_mem_raise_allocated, above tcp_mem[1], of all hosts together
	"TcpExtPruneCalled",        // net/ipv4/tcp_input.c: tcp_prune_queue, beyond a socket's receive buffer
	"TcpExtRcvPruned",          // the same, where nothing was left to prune: what has arrived is dropped
}

// memoryPressure says what grew on the host that must not, or is nil.
func (h *Host) memoryPressure(since kernel.Counters) error {
	if h.pressured {
		return nil
	}
	var grown []string
	for _, name := range pressureCounters {
		if n := since[name]; n > 0 {
			grown = append(grown, fmt.Sprintf("%s +%d", name, n))
		}
	}
	if len(grown) == 0 {
		return nil
	}
	return fmt.Errorf("TCP ran out of memory on %s (%s): what was measured is not the link's doing. A quarter of a guest's memory is TCP's, "+
		"for all hosts together: give it more (such as --memory 2048), or sockets smaller or larger buffers (tcp_wmem, tcp_rmem, "+
		"SO_RCVBUF); or, if the scenario is about it, %s.AllowMemoryPressure()",
		h.Name(), strings.Join(grown, ", "), h.Name())
}
