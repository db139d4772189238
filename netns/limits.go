package netns

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// limits are what the kernel derives, for a new namespace, from the size of its hash table of TCP connections
// (tcp_set_hashinfo in net/ipv4/tcp_ipv4.c).
var limits = [][]string{
	{"net", "ipv4", "tcp_max_tw_buckets"},
	{"net", "ipv4", "tcp_max_syn_backlog"},
}

// readLimits returns the limits of the calling thread's namespace, if the next namespace that it creates gets a hash
// table of its own (net.ipv4.tcp_child_ehash_entries). Otherwise it returns none: the kernel uses the same table for
// both.
func readLimits() ([]string, error) {
	table := []string{"net", "ipv4", "tcp_child_ehash_entries"}
	switch size, err := readSysctl(table); {
	case errors.Is(err, unix.ENOENT): // before Linux 6.1
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read sysctl %s: %w", canonical(table), err)
	case size == "0":
		return nil, nil
	}
	var values []string
	for _, parts := range limits {
		value, err := readSysctl(parts)
		if err != nil {
			return nil, fmt.Errorf("read sysctl %s: %w", canonical(parts), err)
		}
		values = append(values, value)
	}
	return values, nil
}

// setLimits sets them in the namespace that the calling thread is in.
func setLimits(values []string) error {
	for i, value := range values {
		got, err := writeSysctl(limits[i], value)
		if err == nil && got != value {
			err = fmt.Errorf("the kernel kept %q", got)
		}
		if err != nil {
			return fmt.Errorf("set sysctl %s to %q: %w", canonical(limits[i]), value, err)
		}
	}
	return nil
}
