package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Group is kinds that are alike: what they keep from happening. Their exit statuses are of one decade.
type Group struct {
	Status int    // the first exit status of the group
	What   string // such as "it does not connect"
	Kinds  []Kind // of exit statuses Status, Status + 1, ...
}

// ExitStatuses are the exit statuses of all kinds, the worst first: of two findings that are equally sure, the one with the lower status
// keeps more from happening. A status never changes; a new kind takes the next one of its group.
func ExitStatuses() []Group {
	return []Group{
		{10, "the name", []Kind{NoSuchName, NoResolver}},
		{20, "this machine sends nothing", []Kind{NoRoute, NoNeighbour, LocalFirewall, PortsExhausted, Failed}},
		{30, "it does not connect", []Kind{Refused, Rejected, Filtered, AcceptQueueFull, SYNQueueFull}},
		{40, "it connects, and does not answer", []Kind{MTUBlackHole, Unacknowledged, NotReading, SilentServer, ClosedUnanswered, Reset, TLSFailed, NotHTTP}},
		{50, "it is slow", []Kind{SYNLoss, Loss, LateAnswer, ZeroWindow, WindowLimited, DelayedACK}},
		{60, "connections pile up on this machine", []Kind{TimeWait, CloseWait}},
		{0, "advice", []Kind{NoKeepalive}},
	}
}

// ExitStatus is that of a kind; 0 for advice.
func (k Kind) ExitStatus() int {
	for _, g := range ExitStatuses() {
		if i := slices.Index(g.Kinds, k); i >= 0 {
			return g.Status + i
		}
	}
	return 0
}

// ExitStatus is that of a program that found what is in the report: the one of the surest of its findings, of several as sure the one that keeps
// most from happening; and 0 without a finding that is more than advice.
func (r *Report) ExitStatus() int {
	faults := r.Faults()
	if len(faults) == 0 {
		return 0
	}
	sure := []Certainty{Certain, Likely, Possible}
	return slices.MinFunc(faults, func(a, b Finding) int {
		return cmp.Or(slices.Index(sure, a.Sure)-slices.Index(sure, b.Sure), a.Kind.ExitStatus()-b.Kind.ExitStatus())
	}).Kind.ExitStatus()
}

// StatusTable is the table of exit statuses as text, a line for each group.
func StatusTable() string {
	var b strings.Builder
	for _, g := range ExitStatuses() {
		var kinds []string
		for _, k := range g.Kinds {
			kinds = append(kinds, fmt.Sprintf("%d %s", k.ExitStatus(), k))
		}
		fmt.Fprintf(&b, "  %s:\n", g.What)
		for line := range slices.Chunk(kinds, 4) {
			fmt.Fprintf(&b, "      %s\n", strings.Join(line, "  "))
		}
	}
	return b.String()
}
