//go:build linux && amd64

package guest

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// moreTCPMemory is by what a guest raises net.ipv4.tcp_mem, of which the kernel takes a sixteenth of the memory for where the
// pressure begins, and an eighth for the end (tcp_init_mem in net/ipv4/tcp_ipv4.c, or tcp.c): a quarter and a half.
const moreTCPMemory = 4

// raiseTCPMemory gives TCP as much of the guest's memory as can be spared. All hosts of a scenario share net.ipv4.tcp_mem, which
// real hosts do not, and theirs follows from gigabytes. Where it is spent, TCP closes windows for the want of memory.
func raiseTCPMemory() error {
	const file = "/proc/sys/net/ipv4/tcp_mem"
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("memory for TCP: %w", err)
	}
	var raised []string
	for _, field := range strings.Fields(string(text)) {
		pages, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return fmt.Errorf("memory for TCP: %s: %w", file, err)
		}
		raised = append(raised, strconv.FormatUint(moreTCPMemory*pages, 10))
	}
	if err := os.WriteFile(file, []byte(strings.Join(raised, " ")), 0); err != nil {
		return fmt.Errorf("memory for TCP: %w", err)
	}
	return nil
}
