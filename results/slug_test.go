package results

import (
	"regexp"
	"strings"
	"testing"
)

func TestSlug(t *testing.T) {
	long := strings.Repeat("retransmission ", 10)
	for text, want := range map[string]string{
		"handshake":                            "handshake",
		"time-wait":                            "time-wait",
		"a":                                    "a",
		"SYN is retransmitted":                 "syn-is-retransmitted_b92cc702b1",
		"":                                     "unnamed_e3b0c44298",
		"...":                                  "unnamed_ab5df625bc",
		"../../etc/passwd":                     "etc-passwd_3754d6cb3a",
		"-rf":                                  "rf_686c39acd6",
		"BBR keeps 80 % of 20 Mbit/s at 40 ms": "bbr-keeps-80-of-20-mbit-s-at-40-ms_d9d5812790",
		long:                                   "retransmission-retransmission-retransmission_6b14dad8e3",
	} {
		if got := Slug(text); got != want {
			t.Errorf("Slug(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestSlugTellsTextsApart(t *testing.T) {
	words := strings.Repeat("word-", 20)
	texts := []string{
		"", " ", ".", "unnamed", "a b", "a-b", "a  b", "A b", "a b.", "a_b", "a/b", "ä", "ö", "a-b-", "-a-b", "a--b",
		words + "a", words + "b", strings.ToUpper(words), Slug("a b"), Slug(words), strings.Repeat("x", maxSlug), strings.Repeat("x", maxSlug+1),
	}
	seen := map[string]string{}
	for _, text := range texts {
		slug := Slug(text)
		if other, ok := seen[slug]; ok {
			t.Errorf("%q and %q are both %q", other, text, slug)
		}
		seen[slug] = text
	}
}

var slugForm = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*(_[0-9a-f]{10})?$`)

func FuzzSlug(f *testing.F) {
	for _, s := range []string{"", "handshake", "SYN is retransmitted", "../..", "\xff\x00", strings.Repeat("word-", 20), strings.Repeat("x", 61)} {
		f.Add(s, s+" ")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		slug := Slug(a)
		if len(slug) > maxSlug || !slugForm.MatchString(slug) {
			t.Errorf("Slug(%q) = %q", a, slug)
		}
		if a != b && slug == Slug(b) {
			t.Errorf("%q and %q are both %q", a, b, slug)
		}
	})
}
