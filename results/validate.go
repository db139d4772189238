package results

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// Validate returns every fault of the record, each naming the field, its value and what is allowed. Write and Read
// call it.
func (r *Record) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }

	if r.Schema != 0 && r.Schema != SchemaVersion {
		fault("schema %d: %w; leave it 0 or set it to %d", r.Schema, ErrSchema, SchemaVersion)
	}
	if r.Suite == "" {
		fault("suite is empty: give the suite's name")
	}
	if r.Scenario == "" {
		fault("scenario is empty: give the spec's full text")
	}
	if !known(r.Verdict) {
		fault("verdict %q: allowed are %s", r.Verdict, list(verdicts))
	}
	if r.Clock != ClockVirtual && r.Clock != ClockReal {
		fault("clock %q: allowed are %q and %q", r.Clock, ClockVirtual, ClockReal)
	}
	if r.Duration < 0 {
		fault("duration_ns %v: must not be negative", r.Duration)
	}
	for _, h := range []struct{ field, hash string }{
		{"kernel_sha256", r.Inputs.KernelSHA256},
		{"initramfs_sha256", r.Inputs.InitramfsSHA256},
		{"command_line_sha256", r.Inputs.CommandLineSHA256},
	} {
		if h.hash != "" && !isSHA256(h.hash) {
			fault("inputs.%s %q: must be 64 lower-case hex digits", h.field, h.hash)
		}
	}
	for i, m := range r.Impairments {
		if m.At < 0 {
			fault("impairments[%d].at_ns %v: must not be negative", i, m.At)
		}
		if !isJSON(m.Asked) {
			fault("impairments[%d].asked is not JSON: use Raw", i)
		}
		if !isJSON(m.Applied) {
			fault("impairments[%d].applied is not JSON: use Raw", i)
		}
	}
	for i, p := range r.Peers {
		if !isJSON(p.Config) {
			fault("peers[%d].config (%s) is not JSON: use Raw", i, p.Name)
		}
		if !isJSON(p.Result) {
			fault("peers[%d].result (%s) is not JSON: use Raw", i, p.Name)
		}
	}
	for i, c := range r.Counters {
		for _, name := range slices.Sorted(maps.Keys(c.Diff)) {
			if c.Diff[name] == 0 {
				fault("counters[%d].diff.%s (%s) is 0: only nonzero differences are recorded", i, name, c.Host)
			}
		}
	}
	for i, c := range r.Captures {
		if err := checkPath(c.File); err != nil {
			fault("captures[%d].file: %w", i, err)
		}
	}
	for i, f := range r.Metrics {
		if err := f.validate(); err != nil {
			fault("metrics[%d]%w", i, err)
		}
	}
	for i, f := range r.Checks {
		if err := f.validate(); err != nil {
			fault("checks[%d]%w", i, err)
		}
	}
	seen := map[string]bool{}
	artefacts := func(field string, of []Artefact) {
		for i, a := range of {
			if err := checkPath(a.Path); err != nil {
				fault("%s[%d].path: %w", field, i, err)
			}
			if seen[a.Path] {
				fault("%s[%d].path %q: is listed twice", field, i, a.Path)
			}
			seen[a.Path] = true
			if a.Size < 0 {
				fault("%s[%d].size %d: must not be negative", field, i, a.Size)
			}
			if !isSHA256(a.SHA256) {
				fault("%s[%d].sha256 %q: must be 64 lower-case hex digits", field, i, a.SHA256)
			}
		}
	}
	artefacts("artefacts", r.Artefacts)
	if r.Host != nil {
		artefacts("host.artefacts", r.Host.Artefacts)
		if y := r.Host.Started.UTC().Year(); y < 1 || y > 9999 {
			fault("host.started: year %d: must be 1 to 9999 in UTC", y) // RFC 3339 has four digits
		}
		if r.Host.Wall < 0 {
			fault("host.wall_ns %v: must not be negative", r.Host.Wall)
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("record of suite %q, scenario %q: %w", r.Suite, r.Scenario, errors.Join(faults...))
	}
	return nil
}

// checkPath refuses a path that could lead outside the record's folder, or that has more than one spelling.
func checkPath(p string) error {
	switch {
	case p == "":
		return errors.New("path is empty")
	case !filepath.IsLocal(p) || p == ".":
		return fmt.Errorf("path %q: must stay inside the record's folder", p)
	case path.Clean(p) != p:
		return fmt.Errorf("path %q: write it as %q", p, path.Clean(p))
	case strings.ContainsFunc(p, func(c rune) bool { return c == '\\' || c == unicode.ReplacementChar || unicode.IsControl(c) }):
		return fmt.Errorf("path %q: must have no backslash, no control character and valid UTF-8", p)
	case p == FileName || temporary(p):
		return fmt.Errorf("path %q: is the record itself", p)
	}
	return nil
}

func isSHA256(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(raw) == 32 && strings.ToLower(s) == s
}

// isJSON takes nothing at all for JSON: the field is then left out.
func isJSON(raw json.RawMessage) bool { return len(raw) == 0 || json.Valid(raw) }

func list[T ~string](words []T) string {
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", string(w))
	}
	return b.String()
}
