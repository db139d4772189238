package harness

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/netns"
)

// pressureCounters grow when TCP runs out of memory for its buffers, and then does what the link did not make it do: it
// shrinks windows, and drops segments that have arrived.
var pressureCounters = []string{
	"TcpExtTCPMemoryPressures", // net/core/sock.c: __sk_mem_raise_allocated, above tcp_mem[1], of all hosts together
	"TcpExtPruneCalled",        // net/ipv4/tcp_input.c: tcp_prune_queue, beyond a socket's receive buffer
	"TcpExtRcvPruned",          // the same, where nothing was left to prune: what has arrived is dropped
}

// AllowMemoryPressure says that TCP may run out of memory on these hosts: the scenario is about that. On others it fails the
// spec, for what is measured then is the memory, and not the link.
//
// All hosts share net.ipv4.tcp_mem, which follows from the machine's memory (in a guest it is a quarter of that): a socket with
// much unsent data on one host can close the receive windows of another.
func (l *Lab) AllowMemoryPressure(hosts ...*netns.Host) {
	l.pressured = append(l.pressured, hosts...)
}

// memoryPressure says what grew on a host that must not, or is nil.
func (l *Lab) memoryPressure(host *netns.Host, since kernel.Counters) error {
	if slices.Contains(l.pressured, host) {
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
		"SO_RCVBUF); or, if the scenario is about it, lab.AllowMemoryPressure(%s)",
		host.Name(), strings.Join(grown, ", "), host.Name())
}
