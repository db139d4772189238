package results

import (
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// ellipsis ends a text that was cut. It is ASCII, so that it takes three columns in every terminal.
const ellipsis = "..."

// displayWidth returns how many columns of a terminal s takes.
func displayWidth(s string) int {
	n := 0
	for _, c := range s {
		n += runeWidth(c)
	}
	return n
}

// runeWidth follows Unicode's East Asian Width; what combines with the character before it takes no column. It does
// not know emoji that are joined from several: those come out too wide, and are padded too little.
func runeWidth(c rune) int {
	if c < unicode.MaxASCII {
		return 1
	}
	if unicode.In(c, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	switch width.LookupRune(c).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// printable makes s safe to print in one line: control characters, of which an escape sequence for the terminal is
// made, become spaces or '?', and what is not UTF-8 becomes U+FFFD.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\t' || c == '\n' || c == '\r':
			return ' '
		case unicode.IsControl(c) || unicode.In(c, unicode.Bidi_Control):
			return '?'
		}
		return c
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
}

// pad fills s with spaces to n columns.
func pad(s string, n int, right bool) string {
	space := strings.Repeat(" ", max(0, n-displayWidth(s)))
	if right {
		return space + s
	}
	return s + space
}

// prefix returns the longest beginning of s that takes at most n columns, but at least one character, and the rest.
func prefix(s string, n int) (head, rest string) {
	for i, c := range s {
		if n -= runeWidth(c); n < 0 && i > 0 {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// cut shortens s to n columns, of which the last three then are dots.
func cut(s string, n int) string {
	if displayWidth(s) <= n {
		return s
	}
	head, _ := prefix(s, n-len(ellipsis))
	return strings.TrimRight(head, " ") + ellipsis
}

// wrap breaks s between words into at most most lines of at most n columns; n below 4 counts as 4. A word
// that is longer than a line is broken anywhere; what does not fit into the last line is cut.
func wrap(s string, n, most int) []string {
	n = max(n, len(ellipsis)+1)
	var lines []string
	line := ""
	for _, word := range strings.Fields(printable(s)) {
		if line != "" && displayWidth(line)+1+displayWidth(word) <= n {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for displayWidth(word) > n {
			var head string
			head, word = prefix(word, n)
			lines = append(lines, head)
		}
		line = word
	}
	if line != "" {
		lines = append(lines, line)
	}
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
