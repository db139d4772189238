package harness

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/results"
)

// Measure asserts that a metric that the scenario is about lies where it is expected, and puts both into the record and the
// closing table: the value, its bounds, how near to an edge it was, and the source of the expectation.
//
// The value is a time.Duration, another number, or a bounds.Value, which has a unit. The source is the expectation's own
// (an oracle.Span has one), or is given here: an RFC, a sysctl, a constant of the kernel, a formula. Several values of one
// name are one metric: the one that is nearest to an edge.
func (l *Lab) Measure(name string, value any, expected bounds.Expectation, source ...string) {
	ginkgo.GinkgoHelper()
	r := expected.Range()
	r.Source = strings.Join(slices.DeleteFunc(append([]string{r.Source}, source...), func(s string) bool { return s == "" }), "; ")
	if r.Source == "" {
		check(fmt.Errorf("measure %q: say where its bounds are from: an RFC, a sysctl, a constant of the kernel, a formula", name))
	}
	l.measure(&l.record.Metrics, name, value, &r)
}

// Check is [Lab.Measure] of what the scenario is not about but rests on. It is in the record, with its margin, and not in the
// table; it need not name a source.
func (l *Lab) Check(name string, value any, expected bounds.Expectation, source ...string) {
	ginkgo.GinkgoHelper()
	r := expected.Range()
	r.Source = cmp.Or(strings.Join(source, "; "), r.Source)
	l.measure(&l.record.Checks, name, value, &r)
}

// CheckEach is [Lab.Check] of a list of times with an expectation for each.
func CheckEach[E bounds.Expectation](l *Lab, name string, values []time.Duration, expected []E) {
	ginkgo.GinkgoHelper()
	if len(values) != len(expected) {
		check(fmt.Errorf("%s: there are %d, expected %d: %v", name, len(values), len(expected), values))
	}
	for i, value := range values {
		l.Check(name, value, expected[i])
	}
}

// Note puts a metric into the record and the closing table of which nothing is expected.
func (l *Lab) Note(name string, value any) {
	ginkgo.GinkgoHelper()
	l.measure(&l.record.Metrics, name, value, nil)
}

// measure records a metric, and fails the spec if it is not within its bounds.
func (l *Lab) measure(list *[]results.Metric, name string, value any, expected *bounds.Range) {
	ginkgo.GinkgoHelper()
	v, err := bounds.Of(value)
	if err == nil && expected != nil {
		err = expected.Fits(v)
	}
	if err != nil {
		check(fmt.Errorf("metric %q: %w", name, err))
	}
	metric := metricOf(name, v, expected)
	keep(list, metric)
	if expected != nil && !expected.Contains(v) {
		check(errors.New(metric.String()))
	}
}

func metricOf(name string, v bounds.Value, expected *bounds.Range) results.Metric {
	f := results.Metric{Name: name, Value: v.Number, Unit: v.Unit, Whole: v.Whole}
	if expected == nil {
		return f
	}
	edge := func(at float64) *float64 {
		if math.IsInf(at, 0) {
			return nil
		}
		return &at
	}
	margin := expected.Margin(v)
	f.Bounds = &results.Bounds{
		Lower: edge(expected.Lower), Upper: edge(expected.Upper),
		Margin: margin.Distance, Share: margin.Share, Source: expected.Source,
	}
	if f.Bounds.Lower == nil && f.Bounds.Upper == nil {
		f.Bounds = nil // there is no margin
	}
	return f
}

// keep adds a metric, or, if there is one of that name, keeps of the two the one that is nearer to an edge.
func keep(list *[]results.Metric, f results.Metric) {
	i := slices.IndexFunc(*list, func(of results.Metric) bool { return of.Name == f.Name && of.Unit == f.Unit })
	if i < 0 {
		*list = append(*list, f)
		return
	}
	kept := &(*list)[i]
	n := max(kept.Of, 1) + 1
	if f.NearerThan(*kept) {
		*kept = f
	}
	kept.Of = n
}
