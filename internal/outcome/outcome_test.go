package outcome

import (
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/results"
)

func at(line int) types.CodeLocation {
	return types.CodeLocation{FileName: "x_test.go", LineNumber: line}
}

func TestSet(t *testing.T) {
	timeout := types.Failure{Message: "A spec timeout occurred", Location: at(1), AdditionalFailure: &types.AdditionalFailure{
		State:   types.SpecStateFailed,
		Failure: types.Failure{Message: "A spec timeout occurred and then the following failure was recorded: wait", Location: at(9)},
	}}
	cleanup := []types.AdditionalFailure{{State: types.SpecStatePanicked, Failure: types.Failure{Message: "Test Panicked", ForwardedPanic: "oh", Location: at(20)}}}
	for _, c := range []struct {
		name     string
		report   types.SpecReport
		failure  *results.Failure
		reason   string
		wasToRun bool
	}{
		{"passed", types.SpecReport{State: types.SpecStatePassed}, nil, "", true},
		{"passed when tried again", types.SpecReport{State: types.SpecStatePassed, AdditionalFailures: cleanup}, nil, "", true},
		{"failed", types.SpecReport{State: types.SpecStateFailed, Failure: types.Failure{Message: "Expected", Location: at(7)}},
			&results.Failure{Message: "Expected", Location: "x_test.go:7"}, "", true},
		{"panicked", types.SpecReport{State: types.SpecStatePanicked, Failure: types.Failure{Message: "Test Panicked", ForwardedPanic: "boom", Location: at(7)}},
			&results.Failure{Message: "Test Panicked: boom", Location: "x_test.go:7"}, "", true},
		{"timed out", types.SpecReport{State: types.SpecStateTimedout, Failure: timeout},
			&results.Failure{Message: timeout.AdditionalFailure.Failure.Message, Location: "x_test.go:9"}, "", true},
		{"failed, and its cleanup too", types.SpecReport{State: types.SpecStateFailed, Failure: types.Failure{Message: "Expected", Location: at(7)}, AdditionalFailures: cleanup},
			&results.Failure{Message: "Expected\n\nand then (panicked, at x_test.go:20):\nTest Panicked: oh", Location: "x_test.go:7"}, "", true},
		{"skipped", types.SpecReport{State: types.SpecStateSkipped, Failure: types.Failure{Message: "not on a Sunday", Location: at(7)}}, nil, "not on a Sunday", true},
		{"skipped without a reason", types.SpecReport{State: types.SpecStateSkipped, Failure: types.Failure{Location: at(7)}}, nil, "", true},
		{"not selected", types.SpecReport{State: types.SpecStateSkipped}, nil, "", false},
		{"pending", types.SpecReport{State: types.SpecStatePending}, nil, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			c.report.ContainerHierarchyTexts, c.report.LeafNodeText = []string{"a spec"}, "opens"
			c.report.ContainerHierarchyLabels, c.report.LeafNodeLabels = [][]string{{"outer"}}, []string{"inner"}
			c.report.RunTime = time.Second
			record := &results.Record{Failure: &results.Failure{Message: "of before"}, Reason: "of before"}
			Set(record, c.report)
			g.Expect(record.Scenario).To(Equal("a spec opens"))
			g.Expect(record.Labels).To(Equal([]string{"outer", "inner"}))
			g.Expect(record.Duration).To(Equal(time.Second))
			g.Expect(record.Failure).To(Equal(c.failure))
			g.Expect(record.Reason).To(Equal(c.reason))
			g.Expect(WasToRun(c.report)).To(Equal(c.wasToRun))
			// The record knows all of Ginkgo's verdicts.
			record.Suite, record.Clock = "suite", results.ClockReal
			g.Expect(record.Validate()).To(Succeed())
		})
	}
}
