package harness

import (
	"fmt"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness/capture"
	"github.com/tcplab/tcplab/impair/inject"
	"github.com/tcplab/tcplab/results"
)

// An injection is a packet that a scenario sent into a link.
type injection struct {
	end  *End
	what string
	sent inject.Sent
}

// Inject sends a packet into the link at this end: a forged segment or an ICMP error, mostly made of a segment that was seen
// ([Capture.SoFar], [inject.After]). It leaves as all else does, by the end's rules and its netem, so that on a [Lab.Path] it comes
// to the client half a round trip after it was injected at ToClient. It stands in the record, and in captures at either end of the
// link it has a comment.
//
//	seen := harness.Last(wire.SoFar(analysis.SYNACKs), "SYN-ACKs")
//	reset := inject.After(seen)
//	reset.Flags = analysis.FlagRST
//	net.ToClient.Inject(reset)
func (e *End) Inject(p inject.Packet) inject.Sent {
	ginkgo.GinkgoHelper()
	check(p.Validate())
	to, err := e.across()
	check(err)
	check(e.lab.jitterWithin())
	at := e.lab.elapsed()
	sent, err := inject.Send(e.Device(), to.MAC(), p)
	if err != nil {
		check(fmt.Errorf("%s: %w", e, err))
	}
	asked, err := results.Raw(struct {
		Inject string        `json:"inject"`
		Packet inject.Packet `json:"packet"`
		Frame  []byte        `json:"frame"` // from its Ethernet header on
	}{p.String(), p, sent.Frame})
	check(err)
	e.lab.record.Impairments = append(e.lab.record.Impairments, results.Impairment{
		At: at, End: e.String(), Direction: "egress", Asked: asked,
	})
	e.lab.injections = append(e.lab.injections, injection{end: e, what: p.String(), sent: sent})
	return sent
}

// across is the end at the other side of the end's link.
func (e *End) across() (*End, error) {
	for _, link := range e.lab.network.Links {
		switch e {
		case link.A:
			return link.B, nil
		case link.B:
			return link.A, nil
		}
	}
	return nil, fmt.Errorf("%s is at no link of the topology", e)
}

// notes are an injection's comments: where it left, and where it came in, unless the link lost it.
func (i injection) notes() ([]capture.Note, error) {
	across, err := i.end.across()
	if err != nil {
		return nil, err
	}
	note := func(end *End, outbound bool) capture.Note {
		return capture.Note{
			At: i.sent.At, Interface: end.String(), Data: i.sent.Frame, Outbound: outbound,
			Comment: fmt.Sprintf("injected at %s: %s", i.end, i.what),
		}
	}
	return []capture.Note{note(i.end, true), note(across, false)}, nil
}
