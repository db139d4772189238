package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/google/renameio/v2"

	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/results"
)

// countersFile has all counters of all hosts, before and after. Each host's are a line of both, not one for each counter: this
// file was a tenth of all that a guest did that had little to do.
const countersFile = "counters.json"

func (l *Lab) recordCounters() error {
	text := []byte("[")
	var names []string
	var errs []error
	for _, host := range l.network.Hosts() {
		after, err := kernel.ReadCounters(host)
		if err != nil {
			errs = append(errs, fmt.Errorf("counters of %s: %w", host.Name(), err))
			continue
		}
		before := host.before
		if !areNames(names, after) {
			names = after.Names() // of the first host, as a rule: all hosts have one kernel
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		text = append(text, "\n{\"host\":"...)
		text = appendName(text, host.Name())
		text = append(text, ",\n\"before\":"...)
		text = appendCounters(text, before, names)
		text = append(text, ",\n\"after\":"...)
		text = appendCounters(text, after, names)
		text = append(text, '}')
		difference := results.CounterDiff{Host: host.Name(), Diff: map[string]int64{}}
		since := after.Since(before)
		for _, name := range since.Nonzero() {
			difference.Diff[name] = since[name]
		}
		l.record.Counters = append(l.record.Counters, difference)
		errs = append(errs, host.memoryPressure(since))
	}
	text = append(text, "\n]\n"...)
	return errors.Join(append(errs, renameio.WriteFile(filepath.Join(l.dir, countersFile), text, 0o644))...)
}

// areNames tells whether names are those of the counters.
func areNames(names []string, counters kernel.Counters) bool {
	return len(names) == len(counters) && !slices.ContainsFunc(names, func(name string) bool { _, ok := counters[name]; return !ok })
}

// appendCounters appends those of the counters that have one of the names as a JSON object, in the order of the names. What is
// not there has not happened. It writes what json.Marshal would, for a tenth of the work.
func appendCounters(text []byte, counters kernel.Counters, names []string) []byte {
	text = append(text, '{')
	for i, name := range names {
		if i > 0 {
			text = append(text, ',')
		}
		text = appendName(text, name)
		text = append(text, ':')
		text = strconv.AppendInt(text, counters[name], 10)
	}
	return append(text, '}')
}

// appendName appends a name as JSON. Those of counters and hosts are plain, as a rule.
func appendName(text []byte, name string) []byte {
	for i := range len(name) {
		if c := name[i]; c < '0' || c > 'z' || c > '9' && c < 'A' || c > 'Z' && c < 'a' {
			quoted, _ := json.Marshal(name) // which a string always allows
			return append(text, quoted...)
		}
	}
	text = append(text, '"')
	text = append(text, name...)
	return append(text, '"')
}
