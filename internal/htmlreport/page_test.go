package htmlreport

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/internal/htmlreport/reporttest"
	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/results"
)

// scenarios are those that package picture has for tests.
var scenarios = []string{"tailloss", "deadreceiver", "halfclose"}

func testReport(t testing.TB) results.Report {
	return reporttest.Report(t, "../picture/testdata", scenarios...)
}

func pageOf(t testing.TB, report results.Report, o Options) string {
	t.Helper()
	var page bytes.Buffer
	if err := Write(&page, report, o); err != nil {
		t.Fatal(err)
	}
	return page.String()
}

// block64 is a block in base64; "" if it is not there.
func block64(page, id string) string {
	found := regexp.MustCompile(`<script type="application/x-tcplab-block" id="` + id + `">([A-Za-z0-9+/=]*)</script>`).FindStringSubmatch(page)
	if found == nil {
		return ""
	}
	return found[1]
}

// unpackBlock reads a block as codec.js does, by code of its own. One that is not there is nil.
func unpackBlock(t testing.TB, page, id string) []byte {
	t.Helper()
	encoded := block64(page, id)
	if encoded == "" {
		return nil
	}
	packed, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func unpackJSON[T any](t testing.TB, page, id string) T {
	t.Helper()
	var value T
	if err := json.Unmarshal(unpackBlock(t, page, id), &value); err != nil {
		t.Fatalf("block %s: %v", id, err)
	}
	return value
}

// An unpacked is what a page has of a scenario.
type unpacked struct {
	content map[string]json.RawMessage // members of the record are record.NAME
	columns map[string][]int64
	decoded []decodedPacket
}

func unpackScenario(t testing.TB, page string, n int) unpacked {
	t.Helper()
	overview := unpackJSON[struct {
		Places [][2]int
		Names  struct{ Columns []string }
	}](t, page, "overview")
	u := unpacked{content: map[string]json.RawMessage{}, columns: map[string][]int64{}}
	where := overview.Places[n]
	for name, list := range unpackJSON[map[string][]json.RawMessage](t, page, fmt.Sprint("bundle", where[0])) {
		if value := list[where[1]]; string(value) != "null" {
			u.content[name] = value
		}
	}
	all := unpackBlock(t, page, fmt.Sprint("drawing", n))
	if all == nil {
		return u
	}
	length := binary.LittleEndian.Uint32(all)
	var head struct {
		Counts  []int
		Decoded []decodedPacket
	}
	if err := json.Unmarshal(all[4:4+length], &head); err != nil {
		t.Fatal(err)
	}
	u.decoded = head.Decoded
	var series []seriesSummary
	if err := json.Unmarshal(u.content["series"], &series); err != nil {
		t.Fatal(err)
	}
	names := overview.Names.Columns
	for _, s := range series {
		names = append(names, s.Column+".times", s.Column+".values")
	}
	if len(names) != len(head.Counts) {
		t.Fatalf("%d columns have %d names", len(head.Counts), len(names))
	}
	rest := all[4+length:]
	for i, name := range names {
		values, last := make([]int64, head.Counts[i]), int64(0)
		for k := range values {
			difference, n := binary.Varint(rest)
			if n <= 0 {
				t.Fatalf("column %s ends early", name)
			}
			rest = rest[n:]
			last += difference
			values[k] = last
		}
		u.columns[name] = values
	}
	if len(rest) > 0 {
		t.Errorf("%d bytes are left behind the columns", len(rest))
	}
	return u
}

// The numbers behind the plots are those of the capture, frame by frame.
func TestNumbersAreTheCaptures(t *testing.T) {
	report := testReport(t)
	page := pageOf(t, report, Options{})
	for block, name := range scenarios {
		scenario := unpackScenario(t, page, block)
		columns := scenario.columns
		segments, err := analysis.ReadFile(filepath.Join("../picture/testdata", name, "capture.pcapng"))
		if err != nil {
			t.Fatal(err)
		}
		byFrame := map[int64]analysis.Segment{}
		for _, s := range segments {
			byFrame[int64(s.Frame)] = s
		}
		if len(columns["packet.frame"]) != len(segments) {
			t.Errorf("%s: %d packets of %d", name, len(columns["packet.frame"]), len(segments))
		}
		first := byFrame[columns["packet.frame"][0]].Time
		for i, frame := range columns["packet.frame"] {
			s := byFrame[frame]
			if at := time.Duration(columns["packet.at"][i] - columns["packet.at"][0]); s.Time.Sub(first) != at {
				t.Errorf("%s: frame %d is %v after the first, and drawn %v after it", name, frame, s.Time.Sub(first), at)
			}
			if columns["packet.length"][i] != int64(s.Length) || columns["packet.flags"][i] != int64(s.Flags) {
				t.Errorf("%s: frame %d is not %v", name, frame, s)
			}
		}
		if len(scenario.decoded) != len(segments) {
			t.Errorf("%s: fields of %d packets of %d", name, len(scenario.decoded), len(segments))
		}
		var record string
		if err := json.Unmarshal(scenario.content["record.scenario"], &record); err != nil || record != report.Records[block].Scenario {
			t.Errorf("%s: the page has it as %q: %v", name, record, err)
		}
	}
}

// The same report gives the same page: it may be kept and compared.
func TestSameBytes(t *testing.T) {
	report := testReport(t)
	first := pageOf(t, report, Options{})
	if second := pageOf(t, report, Options{}); first != second {
		t.Error("two pages of one report differ")
	}
}

// The page is no larger than was asked for, as long as its packets are what makes it large.
func TestSize(t *testing.T) {
	report := testReport(t)
	whole := len(pageOf(t, report, Options{}))
	small := pageOf(t, report, Options{Size: whole - 4000})
	if len(small) > whole-4000 {
		t.Errorf("%d bytes where %d were asked for", len(small), whole-4000)
	}
	if len(small) < whole-12000 {
		t.Errorf("only %d bytes where there may be %d", len(small), whole-4000)
	}
	least := pageOf(t, report, Options{Size: 1})
	for i := range scenarios {
		if u := unpackScenario(t, least, i); u.content["record.scenario"] == nil || string(u.content["packets_total"]) == "0" || len(u.columns["packet.frame"]) > 0 {
			t.Errorf("scenario %d has %s of %s packets, and the record of %s", i, fmt.Sprint(len(u.columns["packet.frame"])), u.content["packets_total"], u.content["record.scenario"])
		}
	}
}

// What was written by others is in blocks of base64 only, and in the title, escaped.
func TestHostileTextIsData(t *testing.T) {
	page := pageOf(t, reporttest.Hostile(t), Options{})
	dir := t.TempDir()
	file := filepath.Join(dir, `x<img src=x onerror=hacked=1>.pcapng`)
	if err := os.WriteFile(file, reporttest.Capture(t), 0o644); err != nil {
		t.Fatal(err)
	}
	var capture bytes.Buffer
	if err := WriteCapture(&capture, []string{file}, Options{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{page, capture.String()} {
		content := unpackScenario(t, p, 0).content
		for _, list := range []string{"hosts", "places", "captures", "connections", "rules", "bands", "steps", "notes", "series", "shapes"} {
			if !bytes.HasPrefix(content[list], []byte("[")) {
				t.Errorf("%s is %s: the scripts take it for a list", list, content[list])
			}
		}
		if strings.Contains(p, "hacked") && !strings.Contains(p, "&lt;img src=x onerror=hacked=1&gt;") || strings.Contains(p, "<img") {
			t.Error("the page has text of others that is not escaped")
		}
		const blocks, others = 4, 2 // overview, sources, bundle and drawing; licence and program
		if n := strings.Count(p, "<script"); n != strings.Count(p, "</script>") || n != blocks+others {
			t.Errorf("%d scripts begin, and %d end: there are %d", n, strings.Count(p, "</script>"), blocks+others)
		}
		policy := regexp.MustCompile(`Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(p)
		if policy == nil || !strings.Contains(policy[1], "default-src &#39;none&#39;") || strings.Contains(policy[1], "unsafe") {
			t.Errorf("policy %q", policy)
		}
	}
}

// The page asks no host for anything: nothing in it is an address but of XML's names, licences and documents.
func TestNoAddresses(t *testing.T) {
	page := pageOf(t, results.Report{}, Options{})
	for _, found := range regexp.MustCompile(`(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}`).FindAllString(page, -1) {
		if found != "http://www.w3.org" && found != "https://github.com" {
			t.Errorf("the page has the address %s", found)
		}
	}
	for _, tag := range []string{"<link", "<img", "<iframe", "src=", "@import", "url("} {
		if strings.Contains(page, tag) {
			t.Errorf("the page has %s", tag)
		}
	}
}

func TestCommandsAreQuoted(t *testing.T) {
	for word, want := range map[string]string{"a": "a", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "6.1.0-48": "6.1.0-48"} {
		if got := quote(word); got != want {
			t.Errorf("quote(%q) is %s, want %s", word, got, want)
		}
	}
	record := &results.Record{Suite: "handshake", Scenario: "is refused (RST)", Clock: results.ClockVirtual, Seed: 7, Kernel: results.Uname{Release: "6.1.0-48-amd64"}, IPv6: true}
	want := `tcplab run handshake --focus '^handshake is refused \(RST\)$' --seed 7 --clock virtual --kernel 6.1.0-48-amd64 --ipv6`
	if got := command(record); got != want {
		t.Errorf("command is\n%s, want\n%s", got, want)
	}
	record.Together, record.Inputs.MIPS, record.IPv6 = []string{"first (1)", "is refused (RST)"}, 250, false
	want = `tcplab run handshake --focus '^(handshake first \(1\)|handshake is refused \(RST\))$' --seed 7 --clock virtual --kernel 6.1.0-48-amd64 --share 2 --mips 250`
	if got := command(record); got != want {
		t.Errorf("command is\n%s, want\n%s", got, want)
	}
	if record.Inputs.MIPS = vm.DefaultMIPS; strings.Contains(command(record), "--mips") {
		t.Error("the command says how fast a guest is anyway")
	}
}

func TestLongNumbersStayExact(t *testing.T) {
	for document, want := range map[string]string{
		`{"a": 18446744073709551615, "b": [-9007199254740993, 123456789012345]}`:           `{"a": "18446744073709551615", "b": ["-9007199254740993", 123456789012345]}`,
		`{"18446744073709551615": "18446744073709551615", "\"": 1.2345678901234567890e10}`: `{"18446744073709551615": "18446744073709551615", "\"": 1.2345678901234567890e10}`,
		`5`: `5`, `18446744073709551615`: `"18446744073709551615"`, `"\\"`: `"\\"`,
	} {
		if got := string(exact([]byte(document))); got != want {
			t.Errorf("%s becomes %s, want %s", document, got, want)
		}
	}
}

func TestSource(t *testing.T) {
	text := "package p\n\nvar _ = It(\"a\", func() {\n\tdo(1)\n})\n\nvar _ = DescribeTable(\"b\", func(int) {},\n\tEntry(\"c\", 1),\n\tEntry(\"d\", 2),\n)\n"
	for line, want := range map[int][2]int{3: {3, 5}, 8: {7, 10}, 9: {7, 10}} {
		got := specLines("p_test.go", []byte(text), line)
		if got == nil || got.First != want[0] || got.First+len(got.Lines)-1 != want[1] {
			t.Errorf("line %d gives %+v, want lines %v", line, got, want)
		}
	}
	if got := specLines("p_test.go", []byte("no Go\nat all\n"), 2); got == nil || len(got.Lines) != 1 {
		t.Errorf("what is no Go gives %+v", got)
	}
	if got := specLines("p_test.go", []byte(text), 99); got != nil {
		t.Errorf("a line that is not there gives %+v", got)
	}
}

// A record names what is to be read: only tests of the module are.
func TestSourceIsOfTheModule(t *testing.T) {
	m := findModule(".")
	if m == nil {
		t.Fatal("no module")
	}
	defer m.Close()
	for file, readable := range map[string]bool{
		"github.com/tcplab/tcplab/internal/htmlreport/page_test.go": true, "github.com/tcplab/tcplab/internal/htmlreport/page.go": false,
		"/etc/passwd": false, "github.com/tcplab/tcplab/../../../../etc/passwd_test.go": false, "github.com/tcplab/tcplab/nothing_test.go": false,
	} {
		dir := t.TempDir()
		record := &results.Record{Suite: "s", Scenario: "x", Verdict: results.Passed, Clock: results.ClockReal}
		if err := record.Write(dir); err != nil {
			t.Fatal(err)
		}
		report := `[{"SpecReports": [{"LeafNodeText": "x", "LeafNodeLocation": {"FileName": ` + jsonText(file) + `, "LineNumber": 1}}]}]`
		if err := os.WriteFile(filepath.Join(dir, "ginkgo.json"), []byte(report), 0o644); err != nil {
			t.Fatal(err)
		}
		read, err := results.Read(filepath.Join(dir, results.FileName))
		if err != nil {
			t.Fatal(err)
		}
		if got := m.source(read); (got != nil) != readable {
			t.Errorf("%s: read %v", file, got)
		}
	}
}

// Every asset is in the page, or it is vendored for nothing.
func TestAssetsAreUsed(t *testing.T) {
	entries, err := assets.ReadDir("assets")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{"uPlot.iife.min.js": true, "uPlot.min.css": true, "uPlot.LICENSE": true, "report.css": true, "page.html": true}
	for _, name := range scripts {
		used[name] = true
	}
	for _, e := range entries {
		if !used[e.Name()] {
			t.Errorf("assets/%s is in no page", e.Name())
		}
	}
}

func Example() {
	var page bytes.Buffer
	if err := WriteCapture(&page, []string{"../picture/testdata/tailloss/capture.pcapng"}, Options{}); err != nil {
		panic(err)
	}
	fmt.Println(strings.HasPrefix(page.String(), "<!doctype html>"))
	// Output: true
}

func jsonText(s string) string {
	text, _ := json.Marshal(s) // of a string there is no error
	return string(text)
}
