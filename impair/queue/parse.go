package queue

import (
	"fmt"
	"strconv"
	"strings"
)

// Parse reads a discipline as String writes it, and tc(8): "fq_codel target 5ms noecn", "pfifo limit 100", "cake bandwidth 20Mbit dual-srchost".
// It is valid.
func Parse(text string) (Discipline, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return nil, fmt.Errorf("no queue: name one of %s, with its options", strings.Join(kinds(), ", "))
	}
	d, err := parse(words[0], words[1:])
	if err == nil {
		err = d.Validate()
	}
	if err != nil {
		return nil, fmt.Errorf("queue %q: %w", text, err)
	}
	return d, nil
}

func parse(kind string, words []string) (Discipline, error) {
	switch kind {
	case "pfifo", "bfifo":
		return parseTail(kind, words)
	case "fq":
		return parseInto(new(FQ), (*FQ).options, words)
	case "codel":
		return parseInto(new(CoDel), (*CoDel).options, words)
	case "fq_codel":
		return parseInto(new(FQCoDel), (*FQCoDel).options, words)
	case "pie":
		return parseInto(new(PIE), (*PIE).options, words)
	case "red":
		return parseInto(new(RED), (*RED).options, words)
	case "cake":
		return parseInto(new(Cake), (*Cake).options, words)
	case "dualpi2":
		return parseInto(new(DualPI2), (*DualPI2).options, words)
	}
	return nil, fmt.Errorf("there is no %s: name one of %s", kind, strings.Join(kinds(), ", "))
}

func parseTail(kind string, words []string) (Discipline, error) {
	if len(words) == 0 && kind == "pfifo" {
		return DropTail{}, nil
	}
	if len(words) != 2 || words[0] != "limit" {
		return nil, fmt.Errorf("write it as %s limit 100", kind)
	}
	limit, err := strconv.Atoi(words[1])
	if err != nil || limit < 1 {
		return nil, fmt.Errorf("limit %q: want 1 and more", words[1])
	}
	if kind == "bfifo" {
		return DropTail{Bytes: limit}, nil
	}
	return DropTail{Packets: limit}, nil
}

// parseInto reads the options of a discipline.
func parseInto[T Discipline](d *T, optionsOf func(*T) []option, words []string) (Discipline, error) {
	options := optionsOf(d)
	for len(words) > 0 {
		took, err := parseOption(options, words)
		if err != nil {
			return nil, err
		}
		words = words[took:]
	}
	return *d, nil
}

// parseOption reads the first one of these words, and says how many it took.
func parseOption(options []option, words []string) (took int, err error) {
	word := words[0]
	var meant *option // of two with one word the one that takes what follows
	for _, o := range options {
		on, off, isToggle := strings.Cut(o.word, "|")
		switch {
		case isToggle && (word == on || word == off):
			o.set(word == on)
			return 1, nil
		case o.word == "":
			for i, w := range o.words {
				if w == word {
					o.put(uint64(i))
					return 1, nil
				}
			}
		case o.word == word && o.parse == nil:
			o.put(1)
			return 1, nil
		case o.word == word && len(words) > 1:
			if err = o.parse(words[1]); err == nil {
				return 2, nil
			}
			meant = &o
		case o.word == word:
			return 0, fmt.Errorf("%s wants a value", word)
		}
	}
	if meant != nil {
		return 0, fmt.Errorf("%s %s: want %s", word, words[1], meant.allowed)
	}
	return 0, fmt.Errorf("there is no option %q", word)
}
