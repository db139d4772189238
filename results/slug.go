package results

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	// maxSlug is the longest that Slug returns, in bytes: a listing still fits into 80 columns.
	maxSlug = 60

	// slugHash is how many hex digits tell slugs of the same words apart. With 40 bits, a thousand texts that all
	// begin with the same words collide once in two million suites.
	slugHash = 10

	// slugMark stands before the hash. It is never part of a text that is taken as it is, so no such text can be
	// mistaken for a hashed one.
	slugMark = "_"
)

// Slug makes a file name of a text: lower-case ASCII letters, digits and hyphens, at most maxSlug bytes, never
// empty, never beginning with a hyphen or a dot.
//
// A text that is already of this form is returned as it is ("handshake"). Any other is brought into it, cut after a
// word, and marked with a hash of the whole text ("syn-is-retransmitted_5d41402abc"), so that different texts have
// different names.
func Slug(text string) string {
	words := slugWords(text)
	if words == text && text != "" && len(text) <= maxSlug {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	hash := slugMark + hex.EncodeToString(sum[:])[:slugHash]
	if room := maxSlug - len(hash); len(words) > room {
		cut := words[:room]
		if i := strings.LastIndexByte(cut, '-'); words[room] != '-' && i > room/2 {
			cut = cut[:i]
		}
		words = strings.TrimRight(cut, "-")
	}
	if words == "" {
		words = "unnamed"
	}
	return words + hash
}

// slugWords lower-cases ASCII letters and joins what they and digits form with single hyphens.
func slugWords(text string) string {
	var b strings.Builder
	gap := false
	for _, c := range text {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if ('a' > c || c > 'z') && ('0' > c || c > '9') {
			gap = b.Len() > 0
			continue
		}
		if gap {
			b.WriteByte('-')
			gap = false
		}
		b.WriteRune(c)
	}
	return b.String()
}
