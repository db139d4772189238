package harness

import (
	"testing"

	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"
)

func TestReportOfAGuestHasWhatRan(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	spec := func(text string, state types.SpecState, failure types.Failure) types.SpecReport {
		return types.SpecReport{LeafNodeType: types.NodeTypeIt, LeafNodeText: text, State: state, Failure: failure}
	}
	all := types.SpecReports{
		{LeafNodeType: types.NodeTypeBeforeSuite, State: types.SpecStatePassed},
		spec("left out", types.SpecStateSkipped, types.Failure{}),
		spec("passed", types.SpecStatePassed, types.Failure{}),
		spec("skipped itself", types.SpecStateSkipped, types.Failure{Message: "why"}),
		spec("pending", types.SpecStatePending, types.Failure{}),
		spec("failed", types.SpecStateFailed, types.Failure{Message: "why"}),
	}
	var texts []string
	for _, report := range onlyRun(all) {
		texts = append(texts, report.LeafNodeText)
	}
	g.Expect(texts).To(Equal([]string{"", "passed", "skipped itself", "failed"}))
	g.Expect(all).To(HaveLen(6))
	g.Expect(all[1].LeafNodeText).To(Equal("left out"))
}
