package harness

import (
	"errors"
	"testing"

	. "github.com/onsi/gomega"
)

// noted is a recorder that says when it was stopped.
type noted struct {
	ending
	of   stage
	name string
	told *[]string
}

func (n *noted) stage() stage { return n.of }

func (n *noted) stop() error {
	return n.once(func() error {
		*n.told = append(*n.told, n.name)
		return errors.New(n.name)
	})
}

// What changes links is stopped before what looks at them, and each once, whoever does it.
func TestOrderOfTheEnd(t *testing.T) {
	g := NewWithT(t)
	var told []string
	l := &Lab{}
	add := func(name string, of stage) *noted {
		n := &noted{of: of, name: name, told: &told}
		l.add(n)
		return n
	}
	add("events", stageWatchers)
	add("rules", stageRules)
	add("capture", stagePackets)
	again := add("second capture", stagePackets)
	add("queue", stageQueues)
	add("schedule", stageChanges)
	g.Expect(again.over("it")).To(MatchError("read it: it still runs: Stop it first"))
	g.Expect(again.stop()).To(MatchError("second capture"))
	g.Expect(again.over("it")).To(Succeed())

	// An error is told once, and all are stopped in spite of it.
	g.Expect(l.stopAll()).To(MatchError("schedule\nqueue\ncapture\nrules\nevents"))
	g.Expect(told).To(Equal([]string{"second capture", "schedule", "queue", "capture", "rules", "events"}))
	g.Expect(l.stopAll()).To(Succeed())
	g.Expect(recordersOf[*noted](l)).To(HaveLen(6))
	g.Expect(recordersOf[*Capture](l)).To(BeEmpty())
}
