package results

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Kind is in what way a file differs between two runs.
type Kind string

// The kinds of difference.
const (
	Missing Kind = "missing" // the first run has the file, the second has not
	Extra   Kind = "extra"   // the second run has the file, the first has not
	Lost    Kind = "lost"    // it should be there, and neither run has it
	Differs Kind = "differs" // both have it, with other bytes
)

// maxValues bounds how many values of one record Compare lists.
const maxValues = 10

// A Difference is one file that is not the same in two runs.
type Difference struct {
	File string // relative to the run, with slashes
	Kind Kind

	// Of an artefact that differs:
	Offset       int64 // of the first byte that differs, from 0
	SizeA, SizeB int64 // bytes

	// Of a record that differs: the first maxValues values, in the record's order, and how many there are besides.
	Values []ValueDifference
	More   int
}

// A ValueDifference is one place in a record.
type ValueDifference struct {
	Path string // as in jq, without the first dot: counters[0].diff.TcpRetransSegs
	A, B string // JSON, or "absent"
}

// absent stands for a value that one of the records does not have. It is not JSON, so it is no value.
const absent = "absent"

// String returns for example "counters[0].diff.TcpRetransSegs 12 != 13". Of long values it shows the place where they
// begin to differ.
func (v ValueDifference) String() string {
	a, b := excerpts(v.A, v.B)
	return fmt.Sprintf("%s %s != %s", printable(v.Path), a, b)
}

// excerpts shortens two values so that both fit into a line and still look different.
func excerpts(a, b string) (string, string) {
	const most, before = 60, 20 // columns of a value, bytes that are shown before the difference
	if displayWidth(a) <= most && displayWidth(b) <= most {
		return printable(a), printable(b)
	}
	same := 0
	for same < len(a) && same < len(b) && a[same] == b[same] {
		same++
	}
	from, lead := 0, ""
	if same > before {
		from, lead = same-before, ellipsis
	}
	shorten := func(s string) string {
		return cut(lead+printable(strings.ToValidUTF8(s[from:], "")), most)
	}
	return shorten(a), shorten(b)
}

// String returns one line for a file, and one more, indented, for each further value of a record.
func (d Difference) String() string {
	file := printable(d.File) // a scenario can call its files what it likes
	switch d.Kind {
	case Missing:
		return file + ": only in the first run"
	case Extra:
		return file + ": only in the second run"
	case Lost:
		return file + ": in neither run"
	}
	if len(d.Values) == 0 {
		return fmt.Sprintf("%s: differs from byte %d (%#x) on; %d and %d bytes", file, d.Offset, d.Offset, d.SizeA, d.SizeB)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", file, d.Values[0])
	for _, v := range d.Values[1:] {
		fmt.Fprintf(&b, "\n    %s", v)
	}
	if d.More > 0 {
		fmt.Fprintf(&b, "\n    and %d more", d.More)
	}
	return b.String()
}

// Compare lists what is not the same in two runs of the same scenarios: records without their field host, and
// artefacts byte by byte. No difference means the same bytes, but for space between the values of a record that
// something else has written. Differences are sorted by scenario, the record before its artefacts.
//
// Left out are files that a record names in host.artefacts, and what lies outside the scenarios' folders. Files that
// a record names and that are gone are differences, as are scenarios without a record. Runs that cannot be compared
// are an error: a record that cannot be read, a file that is not regular, or two runs without any scenario, which
// would be equal for no reason.
func Compare(a, b *Run) ([]Difference, error) {
	dirsA, err := a.scenarios()
	if err != nil {
		return nil, fmt.Errorf("compare runs: %w", err)
	}
	dirsB, err := b.scenarios()
	if err != nil {
		return nil, fmt.Errorf("compare runs: %w", err)
	}
	if len(dirsA) == 0 && len(dirsB) == 0 {
		return nil, fmt.Errorf("compare runs: neither %s nor %s has a scenario", a.path, b.path)
	}
	var all []Difference
	for _, dir := range union(dirsA, dirsB) {
		diffs, err := compareScenario(a, b, dir)
		if err != nil {
			return nil, fmt.Errorf("compare runs: %w", err)
		}
		all = append(all, diffs...)
	}
	return all, nil
}

// A folder is that of a scenario in one of two runs. The zero value is a folder that does not exist.
type folder struct {
	root   *os.Root
	record []byte   // nil without a record
	onDisk []string // files that Compare looks at, sorted
	named  []string // files that the record lists as its artefacts
}

func openFolder(run *Run, dir string) (*folder, error) {
	full := filepath.Join(run.path, dir)
	root, err := os.OpenRoot(full)
	if errors.Is(err, fs.ErrNotExist) {
		return &folder{}, nil
	}
	if err != nil {
		return nil, err
	}
	f := &folder{root: root}
	if err := f.load(full); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *folder) load(full string) error {
	names, err := files(f.root)
	if err != nil {
		return fmt.Errorf("%s: %w", full, err)
	}
	f.record, err = f.root.ReadFile(FileName)
	if errors.Is(err, fs.ErrNotExist) {
		f.onDisk = names
		return nil
	}
	if err != nil {
		return err
	}
	rec, err := parse(bytes.NewReader(f.record))
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(full, FileName), err)
	}
	for _, a := range rec.Artefacts {
		f.named = append(f.named, a.Path)
	}
	var host []string
	if rec.Host != nil {
		for _, a := range rec.Host.Artefacts {
			host = append(host, a.Path)
		}
	}
	f.onDisk = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(host, name) })
	return nil
}

func (f *folder) close() {
	if f.root != nil {
		_ = f.root.Close() // read only: there is nothing that an error could tell
	}
}

func compareScenario(runA, runB *Run, dir string) ([]Difference, error) {
	a, err := openFolder(runA, dir)
	if err != nil {
		return nil, err
	}
	defer a.close()
	b, err := openFolder(runB, dir)
	if err != nil {
		return nil, err
	}
	defer b.close()

	var diffs []Difference
	file := func(name string) string { return filepath.ToSlash(filepath.Join(dir, name)) }
	presence := func(name string, inA, inB bool) bool {
		var kind Kind
		switch {
		case inA && inB:
			return true
		case inA:
			kind = Missing
		case inB:
			kind = Extra
		default:
			kind = Lost
		}
		diffs = append(diffs, Difference{File: file(name), Kind: kind})
		return false
	}
	if presence(FileName, a.record != nil, b.record != nil) {
		d, same, err := compareRecords(a.record, b.record)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file(FileName), err)
		}
		if !same {
			d.File = file(FileName)
			diffs = append(diffs, d)
		}
	}
	for _, name := range union(a.onDisk, a.named, b.onDisk, b.named) {
		if !presence(name, slices.Contains(a.onDisk, name), slices.Contains(b.onDisk, name)) {
			continue
		}
		d, same, err := compareFiles(a.root, b.root, name)
		if err != nil {
			return nil, err
		}
		if !same {
			d.File = file(name)
			diffs = append(diffs, d)
		}
	}
	return diffs, nil
}

func union(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return slices.Compact(all)
}

func compareFiles(rootA, rootB *os.Root, name string) (d Difference, same bool, err error) {
	a, err := rootA.Open(name)
	if err != nil {
		return d, false, err
	}
	defer a.Close()
	b, err := rootB.Open(name)
	if err != nil {
		return d, false, err
	}
	defer b.Close()
	infoA, err := a.Stat()
	if err != nil {
		return d, false, err
	}
	infoB, err := b.Stat()
	if err != nil {
		return d, false, err
	}
	offset, same, err := firstDifference(bufio.NewReader(a), bufio.NewReader(b))
	if err != nil {
		return d, false, fmt.Errorf("%s: %w", name, err)
	}
	return Difference{Kind: Differs, Offset: offset, SizeA: infoA.Size(), SizeB: infoB.Size()}, same, nil
}

// firstDifference returns the offset of the first byte that is not in both streams.
func firstDifference(a, b io.ByteReader) (offset int64, same bool, err error) {
	for ; ; offset++ {
		byteA, errA := a.ReadByte()
		byteB, errB := b.ReadByte()
		if errA == nil && errB == nil && byteA == byteB {
			continue // nearly always
		}
		endA, endB := errors.Is(errA, io.EOF), errors.Is(errB, io.EOF)
		switch {
		case errA != nil && !endA:
			return offset, false, errA
		case errB != nil && !endB:
			return offset, false, errB
		}
		return offset, endA && endB, nil
	}
}

// errNotUTF8 is for what is no JSON (RFC 8259, 8.1), and which package json accepts all the same.
var errNotUTF8 = errors.New("not UTF-8, as JSON has to be")

// compareRecords compares the bytes of two records without their field host, and says where they differ.
func compareRecords(a, b []byte) (d Difference, same bool, err error) {
	// Decoding makes one character of all bytes that are none, and so of different records the same.
	if !utf8.Valid(a) || !utf8.Valid(b) {
		return d, false, errNotUTF8
	}
	objectA, err := parseValue(a)
	if err != nil {
		return d, false, err
	}
	objectB, err := parseValue(b)
	if err != nil {
		return d, false, err
	}
	objectA.remove("host")
	objectB.remove("host")

	d.Kind = Differs
	compareValues("", objectA, objectB, func(v ValueDifference) {
		if len(d.Values) == maxValues {
			d.More++
			return
		}
		d.Values = append(d.Values, v)
	})
	return d, len(d.Values) == 0, nil
}

// A value is JSON with everything kept that a map[string]any loses: the order of members and how numbers are
// written. Of two records that this package wrote, equal values are equal bytes.
type value struct {
	raw      json.RawMessage
	members  []member // of an object
	elements []value  // of an array
}

type member struct {
	name  string
	value value
}

func (v value) isObject() bool { return v.raw[0] == '{' }
func (v value) isArray() bool  { return v.raw[0] == '[' }

// text returns the value as JSON on one line.
func (v value) text() string {
	var b bytes.Buffer
	if err := json.Compact(&b, v.raw); err != nil {
		return string(v.raw) // not reached: it was parsed
	}
	return b.String()
}

func (v *value) remove(name string) {
	v.members = slices.DeleteFunc(v.members, func(m member) bool { return m.name == name })
}

// parseValue reads one JSON value.
func parseValue(raw []byte) (value, error) {
	v := value{raw: bytes.TrimSpace(raw)}
	if len(v.raw) == 0 {
		return value{}, io.ErrUnexpectedEOF
	}
	if !v.isObject() && !v.isArray() {
		return v, nil
	}
	dec := json.NewDecoder(bytes.NewReader(v.raw))
	if _, err := dec.Token(); err != nil { // the opening bracket
		return value{}, err
	}
	for dec.More() {
		var name string
		if v.isObject() {
			token, err := dec.Token()
			if err != nil {
				return value{}, err
			}
			name, _ = token.(string) // the decoder lets nothing else stand here
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return value{}, err
		}
		child, err := parseValue(raw)
		if err != nil {
			return value{}, err
		}
		if v.isObject() {
			v.members = append(v.members, member{name, child})
		} else {
			v.elements = append(v.elements, child)
		}
	}
	return v, nil
}

// compareValues reports every place in which a and b differ, in the order of a, then what only b has.
func compareValues(path string, a, b value, report func(ValueDifference)) {
	switch {
	case a.isObject() && b.isObject():
		compareObjects(path, a, b, report)
	case a.isArray() && b.isArray():
		for i := range max(len(a.elements), len(b.elements)) {
			at := fmt.Sprintf("%s[%d]", path, i)
			switch {
			case i >= len(a.elements):
				report(ValueDifference{at, absent, b.elements[i].text()})
			case i >= len(b.elements):
				report(ValueDifference{at, a.elements[i].text(), absent})
			default:
				compareValues(at, a.elements[i], b.elements[i], report)
			}
		}
	case a.text() != b.text():
		report(ValueDifference{path, a.text(), b.text()})
	}
}

func compareObjects(path string, a, b value, report func(ValueDifference)) {
	namesA, namesB := names(a), names(b)
	if slices.Equal(namesA, namesB) {
		for i, m := range a.members {
			compareValues(join(path, m.name), m.value, b.members[i].value, report)
		}
		return
	}
	differs := false
	note := func(v ValueDifference) {
		differs = true
		report(v)
	}
	for i, m := range a.members {
		at := join(path, m.name)
		if j := slices.Index(namesB, m.name); j < 0 {
			note(ValueDifference{at, m.value.text(), absent})
		} else if slices.Index(namesA, m.name) == i {
			compareValues(at, m.value, b.members[j].value, note)
		}
	}
	for _, m := range b.members {
		if !slices.Contains(namesA, m.name) {
			note(ValueDifference{join(path, m.name), absent, m.value.text()})
		}
	}
	// A peer's result may hold the same members in another order, or one of them twice.
	if !differs {
		report(ValueDifference{join(path, "keys_unsorted"), fmt.Sprintf("%q", namesA), fmt.Sprintf("%q", namesB)})
	}
}

// names returns the members' names in their order.
func names(v value) []string {
	list := make([]string, len(v.members))
	for i, m := range v.members {
		list[i] = m.name
	}
	return list
}

// join appends a member to a path as jq takes it: in brackets and quotes unless it is an identifier.
func join(path, name string) string {
	identifier := name != ""
	for i, c := range name {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			identifier = false
		}
	}
	if !identifier {
		return fmt.Sprintf("%s[%q]", path, name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}
