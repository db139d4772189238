package analysis

import (
	"fmt"
	"strings"
)

// findCongestion demands a mark of congestion (CE), ECE where the handshake agreed on classic ECN, or an ACE counter that has grown where it
// agreed on accurate ECN. The same bits mean other things in a handshake, and nothing without ECN (ecn.go).
func (c *conversationTracker) findCongestion(d *sideTracker) {
	if c.ECN == ECNNone || d.CE.Count+d.ECE.Count+d.ACE.Count == 0 {
		return // without ECN nobody has marked anything: the bits mean something else, or the headers are not sane
	}
	other := d.other
	var seen []string
	if d.CE.Count > 0 {
		seen = append(seen, fmt.Sprintf("%s of %s had the mark of a congested queue (CE).", plural(d.CE.Count, "packet"), d.name))
	}
	if d.ECE.Count > 0 {
		seen = append(seen, fmt.Sprintf("%s says in %s that marked packets arrive (ECE).", sentence(d.name), plural(d.ECE.Count, "segment")))
	}
	if d.ACE.Count > 0 {
		seen = append(seen, fmt.Sprintf("%s says in %s that %s had arrived marked (ACE).", sentence(d.name), plural(d.ACE.Count, "segment"), plural(d.CEReported, "more packet")))
	}
	where := fmt.Sprintf("A queue between the capture point and %s is full enough to mark packets of %s.", d.name, other.name)
	if d.CE.Count > 0 {
		where = fmt.Sprintf("A queue between %s and the capture point is full enough to mark packets.", d.name)
	}
	c.report(diagnosis{Congestion, d, strings.Join(seen, " "), where,
		"Marks instead of losses: as it should be. tc -s qdisc on the path shows which queue it is (ecn_mark).",
		found(d.CE, d.ECE, d.ACE)})
}
