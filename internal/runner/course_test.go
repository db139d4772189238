package runner

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/progress"
	"github.com/tcplab/tcplab/results"
)

func TestCourse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		var out bytes.Buffer
		display := progress.New(&out)
		defer display.Close()
		ctx := progress.With(t.Context(), display)
		log := &logger{to: display}
		const total = 168
		options := RunOptions{Jobs: 2, Seed: 7}
		c := startCourse(ctx, log, options, total, total, 12)
		g.Expect(out.String()).To(Equal("168 scenarios of 12 suites in 168 guests, 2 side by side: some 6 minutes, less what has passed before\n"))

		// Some are from the cache, which says nothing about how long the others will take.
		cached := &results.Record{Verdict: results.Passed, Host: &results.HostPart{Cached: true}}
		passed, failed := &results.Record{Verdict: results.Passed}, &results.Record{Verdict: results.Failed}
		for range 60 {
			c.report(cached)
		}
		for range 6 {
			time.Sleep(2 * time.Second)
			c.report(passed)
		}
		c.report(failed)
		c.options.Quiet = true // so that a plain line comes
		time.Sleep(30 * time.Second)
		synctest.Wait()
		// Seven took 12 s, when the last was reported; 101 are left.
		g.Expect(out.String()).To(ContainSubstring("s): 67 of 168 done, 1 failed, some 2m50s left\n"))

		// The last that began and still runs is named.
		c.begin(work{suite: &Suite{Name: "handshake"}, specs: []*Spec{{Text: "opens"}}})
		c.begin(work{suite: &Suite{Name: "teardown"}, specs: []*Spec{{Text: "closes"}}})
		c.report(&results.Record{Verdict: results.Passed, Suite: "teardown", Scenario: "closes"})
		time.Sleep(time.Minute)
		synctest.Wait()
		g.Expect(out.String()).To(MatchRegexp(`some [\w ]+ left; handshake: opens\n`))
		c.task.Done()
	})
}

// What is over soon needs no announcement, nor does a run that only speaks of failures.
func TestCourseSaysNoMoreThanNeeded(t *testing.T) {
	var out bytes.Buffer
	log := &logger{to: &out}
	startCourse(t.Context(), log, RunOptions{Jobs: 8}, 100, 100, 3)
	startCourse(t.Context(), log, RunOptions{Jobs: 1, Quiet: true}, 1000, 1000, 3)
	if out.Len() != 0 {
		t.Errorf("%q", out.String())
	}
	startCourse(t.Context(), log, RunOptions{Jobs: 20}, 15*20, 15*20, 1)
	startCourse(t.Context(), log, RunOptions{Jobs: 4}, 180, 20, 1)
	if want := "300 scenarios of 1 suite in 300 guests, 20 side by side: some 1m, less what has passed before\n" +
		"180 scenarios of 1 suite in 20 guests, 4 side by side: some 1m, less what has passed before\n"; out.String() != want {
		t.Errorf("%q, expected %q", out.String(), want)
	}
}

func TestRoughly(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "10s", 14 * time.Second: "10s", 15 * time.Second: "20s", time.Minute: "1m", 170 * time.Second: "2m50s",
		299 * time.Second: "5m", 5 * time.Minute: "5 minutes", 336 * time.Second: "6 minutes", 3 * time.Hour: "180 minutes",
	} {
		if got := roughly(d); got != want {
			t.Errorf("%v: %q, expected %q", d, got, want)
		}
	}
}

func TestExcerpt(t *testing.T) {
	g := NewWithT(t)
	g.Expect(excerpt([]byte("\none\r\n\ttwo \x1b[31mred\n\n"), "x")).To(Equal("one\n\ttwo ?[31mred"))

	var long bytes.Buffer
	for i := range 2 * excerptLines {
		fmt.Fprintf(&long, "line %d é\n", i)
	}
	got := excerpt(long.Bytes(), "here/output.txt")
	g.Expect(got).To(MatchRegexp(`^\.\.\. the first \d+ bytes are left out; all of it is in here/output\.txt\nline 300 é\n`))
	g.Expect(strings.Count(got, "\n")).To(Equal(excerptLines))
	g.Expect(got).To(HaveSuffix("line 599 é"))

	// Few lines can be long, and one that is cut may be cut within a character.
	got = excerpt([]byte(strings.Repeat("é", excerptBytes)+"."), "x")
	g.Expect(len(got)).To(BeNumerically("<", excerptBytes+100))
	g.Expect(got).To(HaveSuffix("éé."))
	g.Expect(got).NotTo(ContainSubstring("\ufffd"))
}

func TestLogHasNoEscapeSequences(t *testing.T) {
	var out bytes.Buffer
	log := &logger{to: &out}
	report(log, &results.Record{Verdict: results.Passed, Suite: "a\x1b]0;b\a", Scenario: "c\x1b[2J\u202ed\x9b31m"}, RunOptions{})
	fmt.Fprint(log.prefixed("name"), "text\x1b[31m\n")
	if want := "passed  a?]0;b?: c?[2J?d\ufffd31m\nname | text?[31m\n"; out.String() != want {
		t.Errorf("%q, expected %q", out.String(), want)
	}
}

func TestModuleDownload(t *testing.T) {
	if got, ok := moduleDownload("go: downloading golang.org/x/sys v0.49.0"); got != "golang.org/x/sys v0.49.0" || !ok {
		t.Errorf("%q, %v", got, ok)
	}
	if got, ok := moduleDownload("# golang.org/x/sys/unix"); ok {
		t.Errorf("%q", got)
	}
}
