package analysis

import (
	"bufio"
	"cmp"
	"io"
	"net/netip"
	"slices"
	"strings"
)

// maxGroups is how many lines an overview has, as long as groups can be made larger.
const maxGroups = 200

// group are conversations of which the same was found.
type group struct {
	findings string // the kinds
	kinds    int
	server   netip.AddrPort // of all; zero if they have several
	first    *Conversation
	last     int // stream
	count    int
}

// WriteOverview writes the report in short, for captures of many conversations: a line for each, or for all of one server with the same
// findings; those with the most findings first. What has no findings is one line.
func (r *Report) WriteOverview(w io.Writer) error {
	t := &textWriter{Writer: bufio.NewWriter(w)}
	t.head(r)
	groups := r.groups(true)
	if len(groups) > maxGroups {
		groups = r.groups(false)
	}
	t.line("")
	for _, g := range groups {
		switch {
		case g.count == 1:
			t.line("%9s  #%d  %v > %v  %s", "", g.first.Stream, g.first.Client.Addr, g.first.Server.Addr, g.findings)
		case g.server.IsValid():
			t.line("%9s  to %v, #%d to #%d  %s", thousands(int64(g.count)), g.server, g.first.Stream, g.last, g.findings)
		default:
			t.line("%9s  #%d to #%d  %s", thousands(int64(g.count)), g.first.Stream, g.last, g.findings)
		}
	}
	return t.Flush()
}

// groups are those of a report, of one server each or of all.
func (r *Report) groups(byServer bool) []*group {
	type key struct {
		findings string
		server   netip.AddrPort
	}
	byKey := make(map[key]*group)
	var all []*group
	for i := range r.Conversations {
		c := &r.Conversations[i]
		k := key{findings: kindsOf(c)}
		if byServer && k.findings != "" {
			k.server = c.Server.Addr
		}
		g := byKey[k]
		if g == nil {
			g = &group{findings: cmp.Or(k.findings, "no findings"), kinds: len(c.Findings), server: k.server, first: c}
			byKey[k] = g
			all = append(all, g)
		}
		g.count++
		g.last = c.Stream
	}
	slices.SortStableFunc(all, func(a, b *group) int { return cmp.Or(cmp.Compare(b.kinds, a.kinds), cmp.Compare(b.count, a.count)) })
	return all
}

// kindsOf are the kinds of findings of a conversation, each once.
func kindsOf(c *Conversation) string {
	var kinds []string
	for _, f := range c.Findings {
		if !slices.Contains(kinds, string(f.Kind)) {
			kinds = append(kinds, string(f.Kind))
		}
	}
	return strings.Join(kinds, ", ")
}
