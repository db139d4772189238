package analysis

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// maxGroups is how many lines an overview has, as long as groups can be made larger.
const maxGroups = 200

// overview is what there is to say of many conversations, of which none is kept.
type overview struct {
	count    int
	kinds    []FindingKind // as they came
	of       map[FindingKind]int
	byServer map[groupKey]*group // nil if there are too many
	byKinds  map[groupKey]*group
}

type groupKey struct {
	findings string
	server   netip.AddrPort // of all; zero if they have several
}

// group are conversations of which the same was found.
type group struct {
	key         groupKey
	kinds       int            // of findings
	client, to  netip.AddrPort // of the first
	first, last int            // streams
	count       int
}

func newOverview() *overview {
	return &overview{of: make(map[FindingKind]int), byServer: make(map[groupKey]*group), byKinds: make(map[groupKey]*group)}
}

func (o *overview) add(c *Conversation) {
	o.count++
	kinds := kindsOf(c)
	names := make([]string, len(kinds))
	for i, k := range kinds {
		if o.of[k] == 0 {
			o.kinds = append(o.kinds, k)
		}
		o.of[k]++
		names[i] = string(k)
	}
	key := groupKey{findings: strings.Join(names, ", ")}
	addTo(o.byKinds, key, c)
	if o.byServer == nil {
		return
	}
	if key.findings != "" {
		key.server = c.Server.Addr
	}
	addTo(o.byServer, key, c)
	if len(o.byServer) > maxGroups {
		o.byServer = nil
	}
}

func addTo(groups map[groupKey]*group, key groupKey, c *Conversation) {
	g := groups[key]
	if g == nil {
		g = &group{key: key, kinds: len(c.Findings), client: c.Client.Addr, to: c.Server.Addr, first: c.Stream, last: c.Stream}
		groups[key] = g
	}
	if c.Stream < g.first {
		g.first, g.client, g.to = c.Stream, c.Client.Addr, c.Server.Addr
	}
	g.last = max(g.last, c.Stream)
	g.count++
}

// kindsOf are the kinds of findings of a conversation, each once.
func kindsOf(c *Conversation) []FindingKind {
	var kinds []FindingKind
	for _, f := range c.Findings {
		if !slices.Contains(kinds, f.Kind) {
			kinds = append(kinds, f.Kind)
		}
	}
	return kinds
}

// groups are those of one server each, or of all if that would be too many.
func (o *overview) groups() []*group {
	groups := o.byServer
	if groups == nil {
		groups = o.byKinds
	}
	return slices.SortedFunc(maps.Values(groups), func(a, b *group) int {
		return cmp.Or(cmp.Compare(b.kinds, a.kinds), cmp.Compare(b.count, a.count), cmp.Compare(a.first, b.first))
	})
}

// tally says how many conversations have each kind of finding.
func (o *overview) tally() string {
	if len(o.kinds) == 0 {
		return "no findings"
	}
	kinds := slices.SortedStableFunc(slices.Values(o.kinds), func(a, b FindingKind) int { return cmp.Compare(o.of[b], o.of[a]) })
	parts := make([]string, len(kinds))
	for i, k := range kinds {
		parts[i] = string(k)
		if o.count > 1 {
			parts[i] += fmt.Sprintf(" in %d", o.of[k])
		}
	}
	return "findings: " + strings.Join(parts, ", ")
}

// overview is that of a report, however it was made.
func (r *Report) overview() *overview {
	if r.chosen != nil {
		return r.chosen
	}
	o := newOverview()
	for i := range r.Conversations {
		o.add(&r.Conversations[i])
	}
	return o
}

// WriteOverview writes the report in short, for captures of many conversations: a line for each, or for all of one server with the same
// findings; those with the most findings first. What has no findings is one line.
func (r *Report) WriteOverview(w io.Writer) error {
	t := &textWriter{Writer: bufio.NewWriter(w)}
	t.head(r)
	t.line("")
	for _, g := range r.overview().groups() {
		findings := cmp.Or(g.key.findings, "no findings")
		switch {
		case g.count == 1:
			t.line("%9s  #%d  %v > %v  %s", "", g.first, g.client, g.to, findings)
		case g.key.server.IsValid():
			t.line("%9s  to %v, #%d to #%d  %s", thousands(int64(g.count)), g.key.server, g.first, g.last, findings)
		default:
			t.line("%9s  #%d to #%d  %s", thousands(int64(g.count)), g.first, g.last, findings)
		}
	}
	return t.Flush()
}
