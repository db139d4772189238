package results

import (
	"strings"

	"github.com/tcplab/tcplab/internal/text"
)

// What a table needs of package text, under shorter names.
const ellipsis = text.Ellipsis

func displayWidth(s string) int               { return text.Width(s) }
func printable(s string) string               { return text.Printable(s) }
func prefix(s string, n int) (string, string) { return text.Prefix(s, n) }
func cut(s string, n int) string              { return text.Cut(s, n) }

// pad fills s with spaces to n columns.
func pad(s string, n int, right bool) string {
	space := strings.Repeat(" ", max(0, n-displayWidth(s)))
	if right {
		return space + s
	}
	return s + space
}

// wrap breaks s between words into at most most lines of at most n columns; n below 4 counts as 4. A word
// that is longer than a line is broken anywhere; what does not fit into the last line is cut.
func wrap(s string, n, most int) []string {
	n = max(n, len(ellipsis)+1)
	lines := text.Wrap(printable(s), n)
	if len(lines) > most {
		lines[most-1] = cut(lines[most-1]+" "+lines[most], n)
		if !strings.HasSuffix(lines[most-1], ellipsis) {
			head, _ := prefix(lines[most-1], n-len(ellipsis))
			lines[most-1] = strings.TrimRight(head, " ") + ellipsis
		}
		lines = lines[:most]
	}
	return lines
}
