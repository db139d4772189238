// Package outcome puts what Ginkgo says of a spec into its record.
//
//	go test ./internal/outcome
package outcome

import (
	"fmt"
	"strings"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/tcplab/tcplab/results"
)

// Set fills in a record's scenario, labels, verdict, duration, and why it failed or was skipped.
func Set(record *results.Record, report types.SpecReport) {
	record.Scenario = report.FullText()
	record.Labels = report.Labels()
	record.Verdict = results.Verdict(report.State.String())
	record.Duration = report.RunTime
	record.Failure, record.Reason = nil, ""
	switch {
	case report.State.Is(types.SpecStateSkipped):
		record.Reason = report.Failure.Message
	case report.State.Is(types.SpecStateFailureStates):
		record.Failure = failure(report)
	}
}

// failure is the first one and, in its message, those of the cleanups after it.
func failure(report types.SpecReport) *results.Failure {
	first := report.Failure
	// A time-out and an interrupt know neither what was waited for nor where: that is in the
	// failure in their wake, whose message begins with theirs.
	if wake := first.AdditionalFailure; wake != nil {
		first = wake.Failure
	}
	text := message(first)
	for _, next := range report.AdditionalFailures {
		text += fmt.Sprintf("\n\nand then (%s, at %s):\n%s", next.State, next.Failure.Location, message(next.Failure))
	}
	return &results.Failure{Message: text, Location: first.Location.String()}
}

// message of a panic has its value: Ginkgo's is the same for all.
func message(failure types.Failure) string {
	if failure.ForwardedPanic == "" {
		return failure.Message
	}
	return strings.TrimPrefix(failure.Message+": "+failure.ForwardedPanic, ": ")
}

// WasToRun tells whether a spec was selected: not pending, and not left out by a filter, by
// --fail-fast or by an interrupt before it began.
func WasToRun(report types.SpecReport) bool {
	return !report.State.Is(types.SpecStatePending) && (!report.State.Is(types.SpecStateSkipped) || !report.Failure.IsZero())
}
