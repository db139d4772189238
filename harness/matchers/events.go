package matchers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/tcplab/tcplab/harness/kernel"
)

// Follow succeeds if one side of a connection went through exactly these states in this order. It
// takes a [kernel.Path], as Events.States returns it.
func Follow(states ...kernel.State) types.GomegaMatcher {
	return &matcher{
		claim: "follow " + arrows(states),
		judge: func(actual any) (finding, error) {
			path, isPath := actual.(kernel.Path)
			if !isPath {
				return finding{}, fmt.Errorf("Follow takes a kernel.Path (Events.States), not a %T", actual)
			}
			found := finding{ok: slices.Equal(path.States, states), seen: arrows(path.States), evidence: history(path)}
			if !found.ok {
				found.seen += fmt.Sprintf(": differs at state %d", differsAt(path.States, states)+1)
			}
			return found, nil
		},
	}
}

func arrows(states []kernel.State) string {
	if len(states) == 0 {
		return "no states"
	}
	names := make([]string, len(states))
	for i, s := range states {
		names[i] = s.String()
	}
	return strings.Join(names, " > ")
}

// differsAt is the first index where one is not as the other.
func differsAt(a, b []kernel.State) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// history shows the events of a path. Probes, of which there is one for each segment, are left
// out: they change no state.
func history(path kernel.Path) string {
	const most = 30
	var events []kernel.Event
	for _, e := range path.Events {
		if e.Kind != kernel.Probe {
			events = append(events, e)
		}
	}
	if len(events) == 0 {
		return fmt.Sprintf("No events of %v to %v.", path.Local, path.Remote)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "Events of %v to %v:", path.Local, path.Remote)
	for _, e := range events[max(0, len(events)-most):] {
		fmt.Fprintf(&text, "\n    %v", e)
	}
	return text.String()
}

// eventsOf takes what has events: a slice, or a recording.
func eventsOf(actual any) (events []kernel.Event, ok bool, err error) {
	switch a := actual.(type) {
	case []kernel.Event:
		return a, true, nil
	case interface {
		Read() ([]kernel.Event, error)
	}:
		events, err = a.Read()
		return events, true, err
	default:
		return nil, false, nil
	}
}

// retransmitted counts the retransmissions among events, and shows the first of them.
func retransmitted(events []kernel.Event) (count int, evidence string) {
	var text strings.Builder
	for _, e := range events {
		if e.Kind != kernel.Retransmit || e.Err != 0 {
			continue
		}
		if count++; count <= shown {
			fmt.Fprintf(&text, "\n    %v", e)
		}
	}
	if count == 0 {
		return 0, fmt.Sprintf("None among %d events.", len(events))
	}
	return count, fmt.Sprintf("The first of them, among %d events:%s", len(events), &text)
}
