package harness

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/tcplab/tcplab/results"
)

const (
	childTable = "/proc/sys/net/ipv4/tcp_child_ehash_entries"
	// smallTable has room for the connections of any scenario: more than one in a bucket only takes longer to be found.
	smallTable = 512
)

// useSmallTables gives the hosts that are made from now on a hash table each for their TCP connections, in a guest. Whoever
// lists sockets (sock_diag, /proc/net/tcp) walks the whole table, once for each family, and the machine's, which hosts share
// otherwise, has a bucket for each 128 KB of memory: two thirds of what a list costs. Package netns sees to it that nothing
// else of a host depends on the size of its table. Linux before 6.1 has no such tables.
//
// It is a sysctl of the machine, which is not ours on the real clock; and thash_entries, a parameter of the guest's kernel, would
// change limits of whatever runs in a guest.
func useSmallTables() error {
	if clock() != results.ClockVirtual {
		return nil
	}
	err := os.WriteFile(childTable, []byte(strconv.Itoa(smallTable)), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("hash tables for TCP connections: %w", err)
	}
	return nil
}
