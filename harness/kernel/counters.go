package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Runner runs a function on an OS thread that is in some network namespace.
// It returns the function's error, or its own when it could not enter.
type Runner interface {
	Do(func() error) error
}

// Counters are the values of a network namespace by nstat's names, such as
// "TcpRetransSegs", "TcpExtTCPTimeouts", "IpExtInOctets" or "Ip6InReceives": at
// one time, or, from [Counters.Since], what happened between two.
//
// Most are counters, which only grow. TcpCurrEstab and MPTcpExtMPCurrEstab are gauges:
// numbers of things at a time. IpForwarding, IpDefaultTTL, TcpRtoAlgorithm, TcpRtoMin,
// TcpRtoMax and TcpMaxConn are settings.
type Counters map[string]int64

// kind says how a value behaves.
type kind int

const (
	counter kind = iota // events, packets or octets since the namespace was made
	gauge               // a number of things at a time
	setting             // a constant or configured value
)

// Everything else is a counter. RFC 4293 and 4022 have the types of what is in
// /proc/net/snmp; of the kernel's own counters in /proc/net/netstat only MPTCP's
// is ever decremented (net/mptcp/protocol.c, mptcp_set_state).
var kinds = map[string]kind{
	"IpForwarding":        setting,
	"IpDefaultTTL":        setting,
	"TcpRtoAlgorithm":     setting,
	"TcpRtoMin":           setting,
	"TcpRtoMax":           setting,
	"TcpMaxConn":          setting,
	"TcpCurrEstab":        gauge,
	"MPTcpExtMPCurrEstab": gauge,
}

// The kernel lists ICMP messages by type only once there has been one of that
// type, so not being listed means none.
var onDemand = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(IcmpMsg|Icmp6)(In|Out)Type[0-9]{1,3}$`) })

// UnknownCounterError says that the kernel that was asked has no counter of that
// name.
type UnknownCounterError struct {
	Name    string   // that was asked for
	Similar []string // names that it has and that may have been meant
}

func (e *UnknownCounterError) Error() string {
	s := fmt.Sprintf("counter %s: this kernel has none of that name", e.Name)
	if len(e.Similar) > 0 {
		s += "; similar are " + strings.Join(e.Similar, ", ")
	}
	return s
}

// Get returns one value. A name that the kernel does not have is an
// [*UnknownCounterError], so that a slip of the pen does not read as zero.
func (c Counters) Get(name string) (int64, error) {
	if v, ok := c[name]; ok {
		return v, nil
	}
	if onDemand().MatchString(name) && len(c) > 0 {
		return 0, nil
	}
	return 0, &UnknownCounterError{Name: name, Similar: c.similar(name)}
}

// similar returns up to three names that contain the given one, or are contained
// in it, whatever the case of letters.
func (c Counters) similar(name string) []string {
	const shortest, most = 4, 3
	if len(name) < shortest {
		return nil
	}
	var found []string
	name = strings.ToLower(name)
	for _, have := range c.Names() {
		if h := strings.ToLower(have); strings.Contains(h, name) || strings.Contains(name, h) {
			if found = append(found, have); len(found) == most {
				break
			}
		}
	}
	return found
}

// Since returns what happened between an earlier reading and this one. Counters
// are subtracted; one that only this reading has, such as the first message of
// an ICMP type, counts from zero. Gauges and settings keep their value of this
// reading, for the difference of two states says nothing.
//
// A counter that only the earlier reading has is left out: then the readings are
// not of one kernel. On 32-bit kernels most counters wrap around at 2^32, which
// shows as a negative difference.
func (c Counters) Since(before Counters) Counters {
	diff := make(Counters, len(c))
	for name, v := range c {
		if kinds[name] == counter {
			v -= before[name]
		}
		diff[name] = v
	}
	return diff
}

// Names returns all names in alphabetical order.
func (c Counters) Names() []string { return slices.Sorted(maps.Keys(c)) }

// Nonzero returns, in alphabetical order, the names of the counters and gauges
// that are not zero. Of a difference, that is what happened.
func (c Counters) Nonzero() []string {
	return slices.DeleteFunc(c.Names(), func(name string) bool {
		return c[name] == 0 || kinds[name] == setting
	})
}

// ReadCounters reads the counters of the network namespace that in enters, or of
// the calling thread's if in is nil. The kernel's files are read one after the
// other, so traffic meanwhile shows in some counters and not in others.
//
// A kernel without IPv6 has no counters of IPv6, and one without MPTCP none of
// MPTCP.
func ReadCounters(in Runner) (Counters, error) {
	c := make(Counters, usualCounters)
	read := func() error {
		// /proc/net and /proc/self/net are of the main thread.
		const dir = "/proc/thread-self/net/"
		for _, file := range []struct {
			name     string
			parse    func(string, Counters) error
			optional bool
		}{
			{"snmp", parseSNMP, false},
			{"netstat", parseSNMP, false},
			{"snmp6", parseSNMP6, true},
		} {
			b, err := os.ReadFile(dir + file.name)
			if file.optional && errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return fmt.Errorf("read counters: %w", err)
			}
			if err := file.parse(string(b), c); err != nil {
				return fmt.Errorf("read counters: %s%s: %w", dir, file.name, err)
			}
		}
		return nil
	}
	var err error
	if in != nil {
		err = in.Do(read)
	} else {
		err = read()
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// usualCounters is above what kernels have, of which 6.1 has 370: a map of that room need not grow.
const usualCounters = 512

// parseSNMP adds what is in /proc/net/snmp or /proc/net/netstat to c: pairs of
// lines, one with a group and names, one with the same group and values.
func parseSNMP(text string, c Counters) error {
	for n := 1; text != ""; n += 2 {
		var header, below string
		header, text = cutLine(text)
		group, names, ok := strings.Cut(header, ":")
		if !ok {
			return fmt.Errorf("line %d: %.40q: want a group, a colon and names", n, header)
		}
		if text == "" {
			return fmt.Errorf("line %d: group %s has names but no values", n, group)
		}
		below, text = cutLine(text)
		values, ok := strings.CutPrefix(below, group+":")
		if !ok {
			return fmt.Errorf("line %d: %.40q: want the values of group %s", n+1, below, group)
		}
		name, i := groupNames(header, group, names), 0
		for value := range strings.FieldsSeq(values) {
			if i < len(name) {
				if err := c.add(name[i], value); err != nil {
					return fmt.Errorf("line %d: %w", n+1, err)
				}
			}
			i++
		}
		if i != len(name) {
			return fmt.Errorf("line %d: group %s has %d names and %d values", n+1, group, len(name), i)
		}
	}
	return nil
}

// cutLine takes the first line off a text.
func cutLine(text string) (line, rest string) {
	line, rest, _ = strings.Cut(text, "\n")
	return line, rest
}

// All namespaces of a kernel have the same groups, whose names need not be put together again each time.
var (
	groupsMutex sync.Mutex
	groups      = map[string][]string{} // full names by the line that they are from
)

func groupNames(header, group, names string) []string {
	const most = 64 // groups: a kernel has 9, and new lines of ICMP's messages with each type
	groupsMutex.Lock()
	defer groupsMutex.Unlock()
	if known, ok := groups[header]; ok {
		return known
	}
	full := strings.Fields(names)
	for i := range full {
		full[i] = group + full[i]
	}
	if len(groups) == most {
		clear(groups)
	}
	groups[header] = full
	return full
}

// parseSNMP6 adds what is in /proc/net/snmp6 to c: lines of a name and a value.
func parseSNMP6(text string, c Counters) error {
	for n := 1; text != ""; n++ {
		var row string
		row, text = cutLine(text)
		var fields [3]string
		found := 0
		for field := range strings.FieldsSeq(row) {
			fields[min(found, 2)] = field
			found++
		}
		if found != 2 {
			return fmt.Errorf("line %d: %.40q: want a name and a value", n, row)
		}
		if err := c.add(fields[0], fields[1]); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return nil
}

// add does not ask first whether there is such a name, which would double the work: the map has not grown if there is.
func (c Counters) add(name, value string) error {
	v, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	before := len(c)
	if c[name] = v; len(c) == before {
		return fmt.Errorf("%s: is there twice", name)
	}
	return nil
}

// newScanner takes lines longer than those of netstat, which has 4,000 bytes.
func newScanner(r io.Reader) *bufio.Scanner {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	return s
}
