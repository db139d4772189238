package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/tcplab/tcplab/internal/scratch"
)

// ErrSchema says that a record has a schema version that this package does not read.
var ErrSchema = errors.New("unknown schema version")

// Raw encodes v for the fields that hold another package's JSON. It refuses what JSON cannot hold, such as NaN.
func Raw(v any) (json.RawMessage, error) {
	raw, err := marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return raw, nil
}

// marshal is json.Marshal with <, > and & left alone: records are read by people, not by browsers.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

// Encode returns the record as indented JSON with a newline at its end. The same record gives the same bytes. It
// refuses a record that is not Valid.
func (r *Record) Encode() ([]byte, error) {
	c := r.canonical()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	compact, err := marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode record of %q: %w", r.Scenario, err)
	}
	var buf bytes.Buffer
	if err := json.Indent(&buf, compact, "", "  "); err != nil {
		return nil, fmt.Errorf("indent record of %q: %w", r.Scenario, err)
	}
	buf.WriteByte('\n')
	return buf.Bytes(), nil
}

// canonical returns a copy in which what means the same is written the same: lists and maps are [] and {} rather
// than null, so that jq can walk them without asking, and the start is in UTC.
func (r *Record) canonical() *Record {
	c := *r
	if c.Schema == 0 {
		c.Schema = SchemaVersion
	}
	c.Labels = present(c.Labels)
	c.Impairments = present(c.Impairments)
	for i := range c.Impairments {
		c.Impairments[i].Notes = present(c.Impairments[i].Notes)
	}
	c.Peers = present(c.Peers)
	c.Counters = present(c.Counters)
	for i := range c.Counters {
		if c.Counters[i].Diff == nil {
			c.Counters[i].Diff = map[string]int64{}
		}
	}
	c.Queues = present(c.Queues)
	c.Captures = present(c.Captures)
	for i := range c.Captures {
		c.Captures[i].Interfaces = present(c.Captures[i].Interfaces)
	}
	c.Metrics = present(c.Metrics)
	c.Checks = present(c.Checks)
	c.Artefacts = present(c.Artefacts)
	if r.Topology != nil {
		t := *r.Topology
		t.Hosts = present(t.Hosts)
		for i := range t.Hosts {
			t.Hosts[i].Addresses = present(t.Hosts[i].Addresses)
			if t.Hosts[i].Sysctls == nil {
				t.Hosts[i].Sysctls = map[string]string{}
			}
		}
		t.Links = present(t.Links)
		c.Topology = &t
	}
	if r.Host != nil {
		h := *r.Host
		h.Started = h.Started.UTC().Round(0) // Round drops the monotonic reading
		h.Artefacts = present(h.Artefacts)
		c.Host = &h
	}
	return &c
}

// present returns a copy of s that is not nil.
func present[T any](s []T) []T { return append(make([]T, 0, len(s)), s...) }

// Write writes the record to record.json in dir, which it creates if needed. The file is replaced atomically: at
// any moment, also after a kill, a reader finds the old record, the new one, or none. A record that is not valid is
// refused before anything is written.
func (r *Record) Write(dir string) error {
	data, err := r.Encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write record of %q: %w", r.Scenario, err)
	}
	name := filepath.Join(dir, FileName)
	if err := scratch.WriteFile(name, data, 0o644); err != nil {
		return fmt.Errorf("write record %s: %w", name, err)
	}
	r.dir = dir
	return nil
}

// temporary tells whether name is what earlier versions called a record.json that they had not finished. A killed
// writer left one behind.
func temporary(name string) bool {
	rest, ok := bytes.CutPrefix([]byte(name), []byte("."+FileName))
	return ok && len(bytes.Trim(rest, "0123456789")) == 0
}

// Read reads the record.json at path. A schema version other than SchemaVersion is an ErrSchema.
func Read(path string) (*Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	defer f.Close()
	r, err := parse(f)
	if err != nil {
		return nil, fmt.Errorf("read record %s: %w", path, err)
	}
	r.dir = filepath.Dir(path)
	return r, nil
}

// mostRecord bounds a record, which a scenario's own program can have written.
const mostRecord = 16 << 20

// parse reads one record and nothing after it. It holds the record to the same rules as Write.
func parse(from io.Reader) (*Record, error) {
	data, err := io.ReadAll(io.LimitReader(from, mostRecord+1))
	if err != nil {
		return nil, err
	}
	if len(data) > mostRecord {
		return nil, fmt.Errorf("it has more than %d bytes: the records of tcplab's own suites have 0.2 MB at most", mostRecord)
	}
	// The version is looked at first and alone: of another version, nothing else can be relied on.
	var version struct {
		Schema *int `json:"schema"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, fmt.Errorf("not a record: %w", err)
	}
	if version.Schema == nil {
		return nil, errors.New("not a record: it has no field \"schema\"")
	}
	if *version.Schema != SchemaVersion {
		return nil, fmt.Errorf("%w %d: only version %d can be read; use the tcplab that wrote it, or run the scenario again",
			ErrSchema, *version.Schema, SchemaVersion)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	c := r.canonical()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}

// verdicts is every verdict, in the order of the constants.
var verdicts = []Verdict{Passed, Failed, Skipped, Pending, Panicked, TimedOut, Interrupted, Aborted}

func known(v Verdict) bool { return slices.Contains(verdicts, v) }
