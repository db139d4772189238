package tune

import (
	"fmt"
	"io"
	"strings"

	"github.com/tcplab/tcplab/internal/text"
)

// header says what the advice is for.
func (r Report) header() string {
	p := r.Path
	parts := []string{fmt.Sprintf("%s, RTT %v: the path holds %s (%d segments)", rateText(float64(p.Rate)), p.RTT, sizeText(r.BDP), r.BDP/mss)}
	if p.Connections > 1 {
		parts = append(parts, fmt.Sprintf("%d connections", p.Connections))
	}
	if p.New > 0 {
		parts = append(parts, fmt.Sprintf("%g new ones a second", p.New))
	}
	if p.Loss > 0 {
		parts = append(parts, fmt.Sprintf("%.3g %% random loss", 100*p.Loss))
	}
	return strings.Join(parts, ", ")
}

// Text writes the report for people, in so many columns.
func (r Report) Text(w io.Writer, columns int) error {
	var b strings.Builder
	field := func(name, value string) {
		for i, line := range text.Wrap(text.Printable(value), columns-12) {
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(&b, "  %-8s  %s\n", name, line)
		}
	}
	fields := func(key string, list ...[2]string) {
		fmt.Fprintf(&b, "\n%s\n", text.Printable(key))
		for _, f := range list {
			field(f[0], f[1])
		}
	}
	for _, line := range text.Wrap(r.header(), columns) {
		fmt.Fprintln(&b, line)
	}
	if len(r.Advice) == 0 {
		fmt.Fprintln(&b, "\nNothing to change: no setting is in the way on this path.")
	}
	for _, a := range r.Advice {
		fields(a.Key, [2]string{"now", a.Current}, [2]string{"advised", a.Advised}, [2]string{"why", a.Why}, [2]string{"impact", a.Impact},
			[2]string{"not", a.Not}, [2]string{"source", a.Source})
		if a.Proof != nil {
			field("proof", a.Proof.Text)
		}
	}
	if len(r.Folklore) > 0 {
		fmt.Fprint(&b, "\nFOLKLORE: set here, and not what it is said to be\n")
	}
	for _, f := range r.Folklore {
		fields(f.Key+" = "+f.Value, [2]string{"belief", f.Belief}, [2]string{"truth", f.Truth}, [2]string{"source", f.Source})
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// commentColumns is how wide a file of settings is.
const commentColumns = 100

// Sysctl writes the advice as a file for /etc/sysctl.d, with the reasons as comments.
func (r Report) Sysctl(w io.Writer) error {
	var b strings.Builder
	comment := func(s string) {
		for _, line := range text.Wrap(text.Printable(s), commentColumns-2) {
			fmt.Fprintf(&b, "# %s\n", line)
		}
	}
	comment(r.header())
	for _, a := range r.Advice {
		b.WriteString("\n")
		comment(a.Why + " Then: " + a.Impact + ". " + a.Not + " (" + a.Source + ")")
		comment("It was " + a.Current + ".")
		fmt.Fprintf(&b, "%s = %s\n", a.Key, a.Advised)
	}
	if len(r.Advice) == 0 {
		b.WriteString("\n")
		comment("Nothing to change: no setting is in the way on this path.")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
