package diagnose

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/text"
)

// Text writes the report for people, in so many columns: what was tried with what came of it, and then the findings.
func (r *Report) Text(w io.Writer, columns int) error {
	var b strings.Builder
	p := page{&b, columns}
	p.line(fmt.Sprintf("%s port %d", text.Printable(r.Options.Host), r.Options.Port))
	r.tried(p)
	if r.Ended {
		p.line("It was ended before all was tried.")
	}
	fmt.Fprintln(&b)
	if len(r.Findings) == 0 {
		p.line("Nothing found" + r.nothing())
	}
	for i, f := range r.Findings {
		if i > 0 {
			fmt.Fprintln(&b)
		}
		head := "! "
		if f.Advice {
			head = "  advice: "
		}
		p.line(fmt.Sprintf("%s%s%s (%s)", head, f.Kind, at(f.Address, len(r.Addresses)), f.Sure))
		for _, field := range [][2]string{{"tried", f.Tried}, {"seen", f.Seen}, {"means", f.Means}, {"next", f.Next}} {
			p.field(field[0], field[1])
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// nothing says what it means that nothing was found.
func (r *Report) nothing() string {
	switch {
	case slices.ContainsFunc(r.Attempts, Attempt.flowing):
		return " so far: data was still under way when the time was over. Take a longer --timeout."
	case len(r.Attempts) == 0 || r.Ended:
		return " so far."
	case r.Options.ConnectOnly:
		return ": it connects as the path allows. Nothing was asked for: --http, --send, --wait or --tls do."
	default:
		return ": it connects and answers as the path allows."
	}
}

func at(address netip.Addr, of int) string {
	if of < 2 || !address.IsValid() {
		return ""
	}
	return ", " + address.String()
}

// A page is text of so many columns.
type page struct {
	*strings.Builder
	columns int
}

func (p page) line(s string) {
	for i, line := range text.Wrap(text.Printable(s), p.columns-2) {
		fmt.Fprintln(p, either(i > 0, "  ", "")+line)
	}
}

func (p page) field(name, s string) {
	const indent = 12
	for i, line := range text.Wrap(text.Printable(s), p.columns-indent) {
		fmt.Fprintf(p, "%-*s%s\n", indent, either(i == 0, "    "+name, ""), line)
	}
}

// tried is a line of each thing that was tried.
func (r *Report) tried(p page) {
	if r.Name.Err == "" {
		var list []string
		for _, a := range r.Addresses {
			list = append(list, a.String())
		}
		if !slices.Equal(list, []string{r.Options.Host}) {
			p.field("name", fmt.Sprintf("%s, in %s", strings.Join(list, ", "), short(r.Name.Took)))
		}
	}
	for _, a := range r.Addresses {
		p.field("route", r.Machine.Routes[a].String()+at(a, len(r.Addresses)))
		p.field("connect", summary(r.of(purposeConnect, a), func(a Attempt) (time.Duration, bool) { return a.Connect, a.Connect > 0 }))
	}
	if list := r.of(purposeAsk, netip.Addr{}); len(list) > 0 {
		p.field("ask", r.Options.what()+": "+summary(list, func(a Attempt) (time.Duration, bool) { return a.Upload + a.answered(), a.Err == "" }))
	}
	if list := append(r.of(purposeSmall, netip.Addr{}), r.of(purposeAgain, netip.Addr{})...); len(list) > 0 {
		p.field("", plural(len(list), "time")+" more, in smaller segments and as before")
	}
	for _, e := range r.Machine.Errs {
		p.field("not known", e)
	}
}

// summary is how many attempts went well, how long those took, and how the others failed.
func summary(list []Attempt, of func(Attempt) (time.Duration, bool)) string {
	var took []time.Duration
	failed := map[string]int{}
	for _, a := range list {
		if d, ok := of(a); ok {
			took = append(took, d)
		} else {
			failed[a.Err]++
		}
	}
	said := []string{}
	if len(took) > 0 {
		said = append(said, fmt.Sprintf("%d of %d, in %s to %s", len(took), len(list), short(slices.Min(took)), short(slices.Max(took))))
	}
	for why, n := range failed {
		said = append(said, fmt.Sprintf("%d failed: %s", n, why))
	}
	slices.Sort(said)
	return either(len(said) > 0, strings.Join(said, "; "), "not tried")
}

// String is like "from 10.0.1.1 by 10.0.1.2, eth0".
func (r Route) String() string {
	switch {
	case r.Err != "":
		return "none: " + r.Err
	case r.Local:
		return "this machine itself"
	case r.Gateway.IsValid():
		return fmt.Sprintf("from %s by %s, %s", r.Source, r.Gateway, r.Device)
	default:
		return fmt.Sprintf("from %s, on the link of %s", r.Source, r.Device)
	}
}
