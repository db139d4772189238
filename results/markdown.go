package results

import (
	"fmt"
	"io"
	"strings"

	"github.com/tcplab/tcplab/internal/text"
)

// markdown escapes what would end a cell, begin HTML, or make a link or a picture. A backslash before a bar would take
// its escape away.
var markdown = strings.NewReplacer(`\`, `\\`, "|", `\|`, "<", "&lt;", "[", `\[`)

func markdownText(s string) string { return markdown.Replace(printable(s)) }

// A markdownPage is what is written of one.
type markdownPage struct{ strings.Builder }

// row writes a row of a table.
func (p *markdownPage) row(cells ...string) {
	p.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

// head writes the first two rows of a table.
func (p *markdownPage) head(titles ...string) {
	for i, title := range titles {
		titles[i] = markdownText(title)
	}
	p.row(titles...)
	p.WriteString(strings.Repeat("|---", len(titles)) + "|\n")
}

// writeMarkdown writes a page, such as for the summary of a job of GitHub Actions: the tally as its title, what failed with the
// beginning of its message and its metrics, a row for each scenario, why scenarios were skipped, and which kept their guest
// too busy. Records of several kernels or seeds have a table each.
func writeMarkdown(w io.Writer, report Report) error {
	var page markdownPage
	fmt.Fprintf(&page, "## %s\n", Count(report.Records))
	for _, d := range report.doubts() {
		fmt.Fprintf(&page, "\n**%s.**\n", markdownText(d.text))
	}
	all := sections(report.Records)
	for _, s := range all {
		if len(all) > 1 {
			fmt.Fprintf(&page, "\n### %s\n", markdownText(capital(s.String())))
		}
		page.failures(s.records)
		page.scenarios(s.records)
		page.notes(s.records)
	}
	_, err := io.WriteString(w, page.String())
	return err
}

func (p *markdownPage) failures(records []*Record) {
	for _, r := range records {
		if !r.Verdict.Failed() {
			continue
		}
		fmt.Fprintf(p, "\n**%s %s: %s**\n\n", markdownText(strings.ToUpper(string(r.Verdict))), markdownText(r.Suite), markdownText(r.Scenario))
		// Indented, it is code whatever it has in it. Fences could be ended from within.
		for line := range strings.Lines(explain(r, mostMessage)) {
			p.WriteString("    " + line)
		}
		p.WriteString("\n")
	}
}

func (p *markdownPage) scenarios(records []*Record) {
	p.WriteString("\n")
	p.head("Suite", "Scenario", "Verdict", "Metrics", "Virtual", "Wall")
	suite := ""
	for _, r := range records {
		shown := r.Suite
		if r.Suite == suite {
			shown = ""
		}
		suite = r.Suite
		var metrics []string
		for _, f := range r.Metrics {
			metrics = append(metrics, markdownText(f.String()))
		}
		verdict := markdownText(string(r.Verdict))
		if r.Verdict.Failed() {
			verdict = "**" + verdict + "**"
		}
		p.row(markdownText(shown), markdownText(r.Scenario), verdict, strings.Join(metrics, "<br>"), virtualTime(r), wallTime(r))
	}
}

func (p *markdownPage) notes(records []*Record) {
	var notes []string
	for _, s := range skips(records) {
		notes = append(notes, "skipped "+s.String())
	}
	for _, r := range records {
		if busy := tooBusy(r); busy != "" {
			notes = append(notes, r.Suite+": "+r.Scenario+": "+busy)
		}
	}
	if len(notes) > 0 {
		p.WriteString("\n")
	}
	for _, note := range notes {
		p.WriteString("* " + markdownText(note) + "\n")
	}
}

// capital begins a line.
func capital(s string) string {
	head, rest := text.Prefix(s, 1)
	return strings.ToUpper(head) + rest
}
