package results

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// An element is XML as it is, so that what nobody expected is seen.
type element struct {
	XMLName  xml.Name
	Attr     []xml.Attr `xml:",any,attr"`
	Children []element  `xml:",any"`
	Text     string     `xml:",chardata"`
}

func (e element) attributes() map[string]string {
	all := map[string]string{}
	for _, a := range e.Attr {
		all[a.Name.Local] = a.Value
	}
	return all
}

var patterns sync.Map

// compiled compiles a pattern once: a fuzzed report is checked a thousand times a second.
func compiled(pattern string) *regexp.Regexp {
	if known, ok := patterns.Load(pattern); ok {
		return known.(*regexp.Regexp)
	}
	expression := regexp.MustCompile(pattern)
	patterns.Store(pattern, expression)
	return expression
}

// checkElement compares with what Ant's schema and Jenkins's both allow: the attributes that are required and no
// others, each with a value that a pattern describes, and the order of the elements below.
func checkElement(t *testing.T, e element, name, order string, attributes map[string]string) {
	t.Helper()
	if e.XMLName.Local != name || e.XMLName.Space != "" {
		t.Fatalf("an element %v, expected %s", e.XMLName, name)
	}
	got := e.attributes()
	for attribute, pattern := range attributes {
		value, found := got[attribute]
		if !found || !compiled(`^(?s:`+pattern+`)$`).MatchString(value) {
			t.Errorf("%s: %s=%q, found: %v; expected %s", name, attribute, value, found, pattern)
		}
		delete(got, attribute)
	}
	if len(got) > 0 || len(e.Attr) != len(attributes) {
		t.Errorf("%s: other attributes %v", name, e.Attr)
	}
	var below strings.Builder
	for _, child := range e.Children {
		below.WriteString(child.XMLName.Local + " ")
	}
	if !compiled(`^(` + order + `)$`).MatchString(below.String()) {
		t.Errorf("%s: below it are %q, expected %s", name, below.String(), order)
	}
	if text := strings.TrimSpace(e.Text); text != "" && name != "failure" && name != "error" {
		t.Errorf("%s: text %q", name, text)
	}
}

const (
	someText = `.+`
	anyText  = `.*`
	count    = `\d+`
	seconds  = `\d{1,9}\.\d{3}` // within xs:decimal, and SUREFIRE_TIME, which has no exponents
)

// checkJUnit checks a report's shape and sums, and returns its test cases by class and name.
func checkJUnit(t *testing.T, report []byte) map[string]element {
	t.Helper()
	var root element
	if err := xml.Unmarshal(report, &root); err != nil {
		t.Fatalf("%v in\n%s", err, report)
	}
	cases := map[string]element{}
	checkElement(t, root, "testsuites", `(testsuite )*`, nil)
	for i, suite := range root.Children {
		checkElement(t, suite, "testsuite", `properties (testcase )*system-out system-err `, map[string]string{
			"name": someText, "package": someText, "id": strconv.Itoa(i), "hostname": someText, "timestamp": `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d`,
			"tests": count, "failures": count, "errors": count, "skipped": count, "time": seconds,
		})
		sums := map[string]int{"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
		plural := map[string]string{"failure": "failures", "error": "errors", "skipped": "skipped"}
		var total float64
		for _, child := range suite.Children {
			switch child.XMLName.Local {
			case "properties":
				checkElement(t, child, "properties", `(property )+`, nil)
				for _, property := range child.Children {
					checkElement(t, property, "property", ``, map[string]string{"name": `\w+`, "value": anyText})
				}
			case "testcase":
				checkElement(t, child, "testcase", `|failure |error |skipped `, map[string]string{"name": anyText, "classname": anyText, "time": seconds})
				sums["tests"]++
				for _, end := range child.Children {
					sums[plural[end.XMLName.Local]]++
					attributes := map[string]string{"message": someText, "type": someText}
					if end.XMLName.Local == "skipped" {
						delete(attributes, "type")
					}
					checkElement(t, end, end.XMLName.Local, ``, attributes)
				}
				of := child.attributes()
				took, err := strconv.ParseFloat(of["time"], 64)
				if err != nil {
					t.Error(err)
				}
				total += took
				cases[of["classname"]+": "+of["name"]] = child
			default:
				checkElement(t, child, child.XMLName.Local, ``, nil)
			}
		}
		of := suite.attributes()
		for name, sum := range sums {
			if of[name] != strconv.Itoa(sum) {
				t.Errorf("suite %s: %s is %s, counted %d", of["name"], name, of[name], sum)
			}
		}
		// Each case's time is rounded to a millisecond.
		if took, err := strconv.ParseFloat(of["time"], 64); err != nil || took-total > 0.001*float64(sums["tests"]) || total-took > 0.001*float64(sums["tests"]) {
			t.Errorf("suite %s: time %s, the cases took %.3f, %v", of["name"], of["time"], total, err)
		}
	}
	return cases
}

func junit(t *testing.T, records []*Record) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := writeJUnit(&out, Report{Records: records}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestJUnit(t *testing.T) {
	g := NewWithT(t)
	records := lab(t)
	cases := checkJUnit(t, junit(t, records))
	g.Expect(cases).To(HaveLen(len(records)))
	tally := Count(records)
	ends := map[string]int{}
	for _, c := range cases {
		for _, end := range c.Children {
			ends[end.XMLName.Local]++
		}
	}
	g.Expect(ends).To(Equal(map[string]int{"failure": 1, "error": 1, "skipped": tally.Skipped}))
	g.Expect(tally.Failed).To(Equal(2))

	timeout := cases["handshake: A SYN that nobody answers is retransmitted with exponential backoff until ETIMEDOUT"]
	g.Expect(timeout.attributes()).To(HaveKeyWithValue("time", "6.210"), "the wall time")
	failure := timeout.Children[0]
	g.Expect(failure.attributes()).To(Equal(map[string]string{"type": "failed", "message": "SYN retransmissions seen on the wire"}))
	g.Expect(failure.Text).To(And(
		ContainSubstring("to equal\n    <int>: 6\nat scenarios/handshake/timeout_test.go:41\n"),
		ContainSubstring("\nSYN retransmissions 6, expected 6"), HaveSuffix("evidence: "+records[0].Dir()),
	))
	skipped := cases["retransmission: A lossless link has no retransmissions"]
	g.Expect(skipped.Children[0].attributes()["message"]).To(HavePrefix(`netem is missing: "qdisc kind is unknown"`))
	g.Expect(cases["retransmission: Tail loss is repaired by a probe"].Children[0].attributes()).To(HaveKeyWithValue("message", "marked as pending"))
}

// The same scenario on two kernels, or with two seeds, is two tests.
func TestJUnitKeepsKernelsApart(t *testing.T) {
	g := NewWithT(t)
	var records []*Record
	for _, release := range []string{"6.1.0-56-amd64", "6.12.95+deb12-amd64"} {
		for seed := range uint64(2) {
			records = append(records, &Record{Suite: "s", Scenario: "x", Verdict: Passed, Clock: ClockVirtual, Kernel: Uname{Release: release}, Seed: seed, IPv6: true})
		}
	}
	report := junit(t, records)
	g.Expect(checkJUnit(t, report)).To(And(HaveLen(2), HaveKey("s on 6.1.0-56-amd64: x"), HaveKey("s on 6.12.95+deb12-amd64: x")))
	g.Expect(strings.Count(string(report), "<testsuite ")).To(Equal(4))
	for _, property := range []string{`"kernel" value="6.12.95+deb12-amd64"`, `"seed" value="1"`, `"clock" value="virtual"`, `"protocol" value="IPv6"`} {
		g.Expect(string(report)).To(ContainSubstring(property))
	}
	g.Expect(checkJUnit(t, junit(t, records[:2]))).To(HaveKey("s: x"))
	g.Expect(checkJUnit(t, junit(t, nil))).To(BeEmpty())
}

// What is missing is an error: a report of what has passed alone would look as if all had.
func TestJUnitSaysWhatIsMissing(t *testing.T) {
	g := NewWithT(t)
	var out bytes.Buffer
	g.Expect(writeJUnit(&out, Report{Records: lab(t)[1:2], Missing: 2})).To(Succeed())
	cases := checkJUnit(t, out.Bytes())
	g.Expect(cases).To(HaveLen(2))
	missing := cases["tcplab: all scenarios have run"].Children
	g.Expect(missing).To(HaveLen(1))
	g.Expect(missing[0].XMLName.Local).To(Equal("error"))
	g.Expect(missing[0].attributes()).To(HaveKeyWithValue("message", "2 of 3 scenarios did not run to their end"))
}

func TestJUnitReturnsTheWritersError(t *testing.T) {
	if err := writeJUnit(fullDisk{}, Report{Records: lab(t)}); err == nil || err.Error() != "no space left" {
		t.Error(err)
	}
}

// Whatever a scenario is called and says, the report can be read, and its text is what was said but for what XML
// cannot hold.
func FuzzJUnit(f *testing.F) {
	f.Add("handshake", "A SYN is retransmitted", "failed", "message\n  indented\x1b[31m ]]> & <b>", int64(1500))
	f.Add("", "\xff\u200d", "panicked", "", int64(-1))
	f.Add("日本", "\n", "skipped", "\u0000\ufffe", int64(1)<<62)
	f.Fuzz(func(t *testing.T, suite, scenario, verdict, text string, took int64) {
		records := []*Record{
			{Suite: suite, Scenario: scenario, Verdict: Verdict(verdict), Clock: ClockReal, Duration: time.Duration(took % 1e18), Reason: text,
				Failure: &Failure{Message: text, Location: text}, Kernel: Uname{Release: text}, Metrics: []Metric{{Name: text, Value: 1}}},
			{Suite: suite, Scenario: text, Verdict: Skipped, Clock: ClockVirtual},
			{Suite: text, Scenario: scenario, Verdict: Failed, Failure: &Failure{}},
		}
		var out bytes.Buffer
		if err := writeJUnit(&out, Report{Records: records}); err != nil {
			t.Fatal(err)
		}
		checkJUnit(t, out.Bytes())
		decoder := xml.NewDecoder(&out)
		for {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	})
}
