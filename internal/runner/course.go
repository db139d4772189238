package runner

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tcplab/tcplab/internal/progress"
	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/results"
)

// What a run in virtual time takes of a core, on the average of tcplab's own suites, rounded up: a guest, and each scenario in
// it. It is only for saying beforehand how long a run takes.
const (
	guestCost    = 3 * time.Second
	scenarioCost = 1 * time.Second
)

// A course is how far the scenarios of a run have come.
type course struct {
	log     *logger
	options RunOptions
	task    *progress.Task
	total   int
	began   time.Time

	mutex                sync.Mutex
	done, failed, booted int
	running              []string // as they began
}

// startCourse says what is to come, if that takes a minute or more.
func startCourse(ctx context.Context, log *logger, options RunOptions, total, guests, suites int) *course {
	cost := guestCost*time.Duration(guests) + scenarioCost*time.Duration(total)
	if expected := cost / time.Duration(options.Jobs); expected >= time.Minute && !options.Quiet {
		log.printf("%s in %d guests, %d side by side: some %s, less what has passed before",
			scenariosOf(total, suites), guests, min(options.Jobs, guests), roughly(expected))
	}
	name := "scenarios"
	if options.Quiet {
		name = fmt.Sprintf("seed %d", options.Seed)
	}
	c := &course{log: log, options: options, task: progress.Start(ctx, name), total: total, began: time.Now()}
	c.show()
	return c
}

func scenariosOf(scenarios, suites int) string {
	of := "suites"
	if suites == 1 {
		of = "suite"
	}
	return fmt.Sprintf("%d scenarios of %d %s", scenarios, suites, of)
}

// begin says that scenarios run, of which report says that they have ended.
func (c *course) begin(w work) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, scenario := range w.scenarios() {
		c.running = append(c.running, w.suite.Name+": "+scenario)
	}
	c.show()
}

// report says how a scenario ended.
func (c *course) report(record *results.Record) {
	report(c.log, record, c.options)
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.done++
	if i := slices.Index(c.running, record.Suite+": "+record.Scenario); i >= 0 {
		c.running = slices.Delete(c.running, i, i+1)
	}
	if failed(record) {
		c.failed++
	}
	if record.Host == nil || !record.Host.Cached {
		c.booted++
	}
	c.show()
}

// show brings the display up to date. The caller has the lock, or is the only one that knows of the course.
func (c *course) show() {
	text := fmt.Sprintf("%d of %d done", c.done, c.total)
	if c.failed > 0 {
		text += fmt.Sprintf(", %d failed", c.failed)
	}
	// The first ones tell little: of all that run side by side some have just begun.
	if c.booted > c.options.Jobs && c.done < c.total {
		left := time.Since(c.began) / time.Duration(c.booted) * time.Duration(c.total-c.done)
		text += ", some " + roughly(left) + " left"
	}
	if len(c.running) > 0 {
		text += "; " + c.running[len(c.running)-1]
	}
	c.task.Set("%s", text)
}

// roughly is a duration as one would say it: no finer than 10 seconds, or a minute from five minutes on.
func roughly(d time.Duration) string {
	if d >= 5*time.Minute {
		return fmt.Sprintf("%d minutes", (d+30*time.Second)/time.Minute)
	}
	d = max(d.Round(10*time.Second), 10*time.Second)
	if d%time.Minute == 0 {
		return strings.TrimSuffix(d.String(), "0s")
	}
	return d.String()
}

// Of what a scenario that failed has printed, the end is passed on: it tells why.
const (
	excerptLines = 300
	excerptBytes = 64 << 10
)

// excerpt is the end of an output, and says where all of it is.
func excerpt(output []byte, path string) string {
	all := strings.TrimSpace(text.PrintableLines(string(output)))
	end := all[max(0, len(all)-excerptBytes):]
	lines := strings.SplitAfter(end, "\n")
	if len(end) < len(all) && len(lines) > 1 {
		lines = lines[1:] // it has no beginning
	}
	lines = lines[max(0, len(lines)-excerptLines):]
	end = strings.ToValidUTF8(strings.Join(lines, ""), "")
	if len(end) < len(all) {
		return fmt.Sprintf("%s the first %d bytes are left out; all of it is in %s\n%s", text.Ellipsis, len(all)-len(end), path, end)
	}
	return end
}
