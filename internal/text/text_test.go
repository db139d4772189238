package text

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestPrintable(t *testing.T) {
	for s, want := range map[string][2]string{
		"plain é 日本":                   {"plain é 日本", "plain é 日本"},
		"a\tb\nc\r\nd\re":              {"a b c  d e", "a\tb\nc\nd?e"},
		"\x1b[31mred\x1b]0;title\a":    {"?[31mred?]0;title?", "?[31mred?]0;title?"},
		"c1 \u009b31m, bidi \u202eabc": {"c1 ?31m, bidi ?abc", "c1 ?31m, bidi ?abc"},
		"\xff\x9b":                     {"\ufffd", "\ufffd"},
	} {
		if got := [2]string{Printable(s), PrintableLines(s)}; got != want {
			t.Errorf("%q: %q, expected %q", s, got, want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		s    string
		n    int
		want string
	}{
		{"abcdef", 6, "abcdef"}, {"abcdefg", 6, "abc..."}, {"日本日本", 6, "日..."}, {"ab cdefg", 6, "ab..."}, {"e\u0301tude", 5, "e\u0301tude"}, {"abcdef", -1, "a..."},
	} {
		if got := Cut(c.s, c.n); got != c.want {
			t.Errorf("Cut(%q, %d): %q, expected %q", c.s, c.n, got, c.want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("\x1b[31m\u202e\u009b\xff日本e\u0301", 7)
	f.Fuzz(func(t *testing.T, s string, n int) {
		for _, got := range []string{Printable(s), PrintableLines(s)} {
			if !utf8.ValidString(got) || strings.ContainsFunc(got, func(c rune) bool {
				return unicode.IsControl(c) && c != '\n' && c != '\t' || unicode.In(c, unicode.Bidi_Control)
			}) {
				t.Errorf("%q gives %q", s, got)
			}
		}
		line := Printable(s)
		if strings.ContainsAny(line, "\n\t") {
			t.Errorf("%q gives the lines %q", s, line)
		}
		if cut := Cut(line, n); n >= 5 && Width(cut) > n { // what is least is a wide character and the dots
			t.Errorf("%q takes %d columns of %d", cut, Width(cut), n)
		}
	})
}
