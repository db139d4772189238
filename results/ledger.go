package results

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// LedgerName is the name of a ledger inside its folder.
const LedgerName = "ledger.jsonl"

// A Ledger keeps what came of many runs in one file, a line each, so that they need not be made again, on this machine or
// another. A line is written at once, and what was cut off by a kill is passed over. Of two lines about one run the later
// stands. It can be used by several goroutines.
type Ledger struct {
	mutex   sync.Mutex
	file    *os.File
	results []*result
	byKey   map[string]*result
}

// An entry is one run of one scenario.
type entry struct {
	// Key names all that the run depended on: the same key, the same bytes.
	Key string `json:"key"`
	// Code names the program that ran, whatever kernel and seed it ran with.
	Code   string          `json:"code"`
	Record json.RawMessage `json:"record"`
	// SHA256 is of the three above: a line that was changed since it was written is passed over, as one that was cut off.
	SHA256 string `json:"sha256"`
}

// sum is what an entry's hash has to be.
func (e entry) sum() string {
	hash := sha256.New()
	fmt.Fprintf(hash, "%q\n%q\n%s", e.Key, e.Code, e.Record)
	return hex.EncodeToString(hash.Sum(nil))
}

// A result is an entry that was read or made.
type result struct {
	key, code string
	record    *Record
	merged    bool // another folder has it, and it was not asked for since
	written   bool // in the file
}

// OpenLedger opens the ledger of a folder, which it makes where it is not there.
func OpenLedger(dir string) (*Ledger, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	l := &Ledger{byKey: map[string]*result{}}
	path := filepath.Join(dir, LedgerName)
	whole, err := read(path, func(e entry, record *Record) { l.add(e, record).written = true })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if l.file, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	if !whole { // what comes next must not be taken for the rest of a line that was cut off
		if _, err := l.file.WriteString("\n"); err != nil {
			l.file.Close()
			return nil, fmt.Errorf("open ledger: %w", err)
		}
	}
	return l, nil
}

// Close closes the file.
func (l *Ledger) Close() error { return l.file.Close() }

// Merge takes in what the ledger of another folder knows of programs, without writing it, and counts the runs that it took
// and those of other programs that it left. Where the two ledgers disagree on a run, the failure stands: the same inputs
// gave another result. A folder without a ledger is fs.ErrNotExist.
func (l *Ledger) Merge(dir string, codes []string) (taken, left int, err error) {
	theirs := &Ledger{byKey: map[string]*result{}}
	if _, err := read(filepath.Join(dir, LedgerName), func(e entry, record *Record) { theirs.add(e, record) }); err != nil {
		return 0, 0, err
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for _, r := range theirs.results {
		if !slices.Contains(codes, r.code) {
			left++
			continue
		}
		taken++
		known := l.byKey[r.key]
		if known == nil {
			known = l.add(entry{Key: r.key, Code: r.code}, r.record)
		} else if r.record.Verdict.Failed() && !known.record.Verdict.Failed() {
			known.record, known.written = r.record, false
		}
		known.merged = true
	}
	return taken, left, nil
}

// mostEntry bounds a line.
const mostEntry = mostRecord

// read passes on the entries of a file, and tells whether it ends with a whole line. Lines of another schema, and those that
// were cut off or changed, are passed over: what they are about is run again.
func read(path string, each func(entry, *Record)) (whole bool, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return true, fmt.Errorf("read ledger: %w", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, mostEntry)
	for lines.Scan() {
		var e entry
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.SHA256 != e.sum() {
			continue
		}
		record := &Record{}
		if json.Unmarshal(e.Record, record) != nil || record.Schema != SchemaVersion || record.Validate() != nil {
			continue
		}
		each(e, record)
	}
	if err := lines.Err(); err != nil {
		return true, fmt.Errorf("read ledger %s: %w", path, err)
	}
	return len(text) == 0 || text[len(text)-1] == '\n', nil
}

// add takes an entry in, in place of an earlier one about the same run.
func (l *Ledger) add(e entry, record *Record) *result {
	known := l.byKey[e.Key]
	if known == nil {
		known = &result{}
		l.byKey[e.Key] = known
		l.results = append(l.results, known)
	}
	*known = result{key: e.Key, code: e.Code, record: record}
	return known
}

// Get returns the record of a run that was made, or nil.
func (l *Ledger) Get(key string) *Record {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	known := l.byKey[key]
	if known == nil {
		return nil
	}
	known.merged = false
	return known.record
}

// Put keeps what a run came to: its verdict, its metrics and checks, and what it depended on. It takes the place of what an
// earlier run came to with the same key.
func (l *Ledger) Put(key, code string, r *Record) error {
	summary := r.Summary()
	text, err := json.Marshal(summary)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	e := entry{Key: key, Code: code, Record: text}
	e.SHA256 = e.sum()
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if known := l.byKey[key]; known != nil && known.written {
		if before, err := json.Marshal(known.record); err == nil && bytes.Equal(before, text) {
			known.merged = false
			return nil
		}
	}
	if _, err := l.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	l.add(e, summary).written = true
	return nil
}

// Merged are the runs that Merge took in and nobody has asked for since.
func (l *Ledger) Merged() []*Record {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	var records []*Record
	for _, r := range l.results {
		if r.merged {
			records = append(records, r.record)
		}
	}
	return records
}

// Summary is the record without what is of one run only: its files, and what the hosts did.
func (r *Record) Summary() *Record {
	return &Record{
		Schema: SchemaVersion, Suite: r.Suite, Scenario: r.Scenario, Labels: r.Labels, Verdict: r.Verdict, Failure: r.Failure, Reason: r.Reason,
		Together: r.Together,
		Kernel:   r.Kernel, Clock: r.Clock, IPv6: r.IPv6, Seed: r.Seed, Inputs: r.Inputs, Duration: r.Duration,
		Metrics: r.Metrics, Checks: r.Checks,
	}
}
