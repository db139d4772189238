package results

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// The report for JUnit's readers has what both of the schemas allow that they go by, Ant's (JUnit.xsd of
// windyroad/JUnit-Schema) and Jenkins's (junit-10.xsd of its xunit plug-in). So properties are a suite's, not a test
// case's, and what is empty is there.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Package    string          `xml:"package,attr"`
		ID         int             `xml:"id,attr"`
		Hostname   string          `xml:"hostname,attr"`
		Timestamp  string          `xml:"timestamp,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Time       junitTime       `xml:"time,attr"`
		Properties junitProperties `xml:"properties"`
		Cases      []junitCase     `xml:"testcase"`
		Out        string          `xml:"system-out"`
		Err        string          `xml:"system-err"`
	}
	junitProperties struct {
		List []junitProperty `xml:"property"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		Time    junitTime     `xml:"time,attr"`
		Failure *junitFailure `xml:"failure"`
		Error   *junitFailure `xml:"error"`
		Skipped *junitSkipped `xml:"skipped"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",cdata"` // so that its lines stay lines
	}
	junitSkipped struct {
		Message string `xml:"message,attr"`
	}
)

// A junitTime is written in seconds, to the millisecond.
type junitTime time.Duration

func (t junitTime) MarshalText() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(t).Seconds(), 'f', 3, 64), nil
}

// writeJUnit writes the report that tools of continuous integration read: a test case for each record with the wall time that it
// took, why it failed and where its evidence is, or why it was skipped; and a test suite for each suite, kernel and seed,
// which are among its properties. The records' order stays. What is missing is an error of a suite of its own.
func writeJUnit(w io.Writer, report Report) error {
	document, err := xml.MarshalIndent(junitReport(report), "", "  ")
	if err != nil {
		return fmt.Errorf("JUnit report: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, document)
	return err
}

func junitReport(report Report) junitSuites {
	var document junitSuites
	kernels := map[string]bool{}
	for _, r := range report.Records {
		kernels[r.Kernel.Release] = true
	}
	type key struct {
		suite string
		Origin
	}
	index := map[key]int{}
	started := map[key]time.Time{}
	for _, r := range report.Records {
		k := key{r.Suite, r.Origin()}
		i, known := index[k]
		if !known {
			i = document.add(printable(cmp.Or(r.Suite, "-")), junitPropertiesOf(k.Origin))
			index[k] = i
		}
		class := r.Suite
		if len(kernels) > 1 {
			class += " on " + r.Kernel.Release // otherwise readers would take one test for the other
		}
		if k.Run != "" {
			class += " of run " + k.Run
		}
		document.Suites[i].add(r, printable(class))
		if at := junitStarted(r); !at.IsZero() && (started[k].IsZero() || at.Before(started[k])) {
			started[k] = at
		}
	}
	for k, i := range index {
		document.Suites[i].Timestamp = junitTimestamp(started[k])
	}
	if doubts := report.doubts(); len(doubts) > 0 {
		s := &document.Suites[document.add("tcplab", []junitProperty{{"missing", strconv.Itoa(report.Missing)}})]
		s.Timestamp, s.Tests, s.Errors = junitTimestamp(time.Time{}), len(doubts), len(doubts)
		for _, d := range doubts {
			s.Cases = append(s.Cases, junitCase{Name: d.wants, Class: "tcplab", Error: &junitFailure{Message: d.text, Type: d.kind, Text: d.text}})
		}
	}
	return document
}

// add adds a suite without test cases, and returns its place.
func (d *junitSuites) add(name string, properties []junitProperty) int {
	d.Suites = append(d.Suites, junitSuite{
		// The name of the machine says nothing: in virtual time all give the same.
		Name: name, Package: "tcplab", ID: len(d.Suites), Hostname: "localhost", Properties: junitProperties{properties},
	})
	return len(d.Suites) - 1
}

// junitTimestamp is in UTC: the schemas allow no zone.
func junitTimestamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05") }

func junitPropertiesOf(o Origin) []junitProperty {
	properties := []junitProperty{
		{"kernel", printable(o.Kernel)}, {"clock", printable(o.Clock)}, {"seed", strconv.FormatUint(o.Seed, 10)}, {"protocol", o.protocol()},
	}
	if o.Run != "" {
		properties = append(properties, junitProperty{"run", printable(o.Run)})
	}
	return properties
}

func junitStarted(r *Record) time.Time {
	if r.Host == nil {
		return time.Time{}
	}
	return r.Host.Started
}

// add adds a record as a test case, and counts it.
func (s *junitSuite) add(r *Record, class string) {
	took := r.wall()
	c := junitCase{Name: printable(r.Scenario), Class: class, Time: junitTime(took)}
	switch r.Verdict {
	case Passed:
	case Skipped, Pending:
		c.Skipped = &junitSkipped{Message: printable(skipReason(r))}
		s.Skipped++
	case Failed, TimedOut:
		c.Failure = newJUnitFailure(r)
		s.Failures++
	default: // it did not come to an assertion, as Ant puts it
		c.Error = newJUnitFailure(r)
		s.Errors++
	}
	s.Tests++
	s.Time += junitTime(took)
	s.Cases = append(s.Cases, c)
}

// newJUnitFailure has the first line of the message for lists, and all that is known for who looks closer.
func newJUnitFailure(r *Record) *junitFailure {
	return &junitFailure{Message: headline(r), Type: verdictName(r.Verdict), Text: strings.TrimSpace(junitText(explain(r, math.MaxInt)))}
}

// junitText leaves out what XML cannot hold, not even in a CDATA section, and is more than text cannot hold elsewhere.
func junitText(s string) string {
	return strings.NewReplacer("\ufffe", "\ufffd", "\uffff", "\ufffd").Replace(s)
}

// wall is the wall time that a record's scenario took, or 0 where it is not known.
func (r *Record) wall() time.Duration {
	switch {
	case r.Host != nil && r.Host.Wall > 0:
		return r.Host.Wall
	case r.Clock == ClockReal && r.Duration > 0:
		return r.Duration
	}
	return 0
}

// skipReason is why a record's scenario did not run.
func skipReason(r *Record) string {
	switch {
	case r.Reason != "":
		return r.Reason
	case r.Verdict == Pending:
		return "marked as pending"
	}
	return "no reason was given"
}
