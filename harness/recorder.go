package harness

import (
	"errors"
	"fmt"
	"slices"
)

// A recorder is what a spec has its Lab start: a capture, the kernel's events, samples of sockets or of a queue, sockets to be looked
// at, a trace, rules, a schedule. All of them live alike. The Lab starts them, Stop ends them and returns them, and what the spec does
// not end ends with it. What can be read while it runs (sockets, rules, traces) is read without an end; the others fail the spec
// if they are read before they are stopped.
type recorder interface {
	// stop ends it, and writes its artefact. Only the first call does that, and says what went wrong.
	stop() error

	// stage is when it is stopped, among all that still run when the spec has ended.
	stage() stage
}

// A stage is part of the end of a spec.
type stage int

const (
	stageChanges  stage = iota // what changes the links by itself: after it nothing is different any more
	stageQueues                // the links' own accounts
	stagePackets               // captures, which ask the rules what they did
	stageRules                 // so that these come later
	stageWatchers              // what only looks
)

// add has the Lab stop a recorder, if nobody else does. It can be called from any goroutine.
func (l *Lab) add(r recorder) {
	l.recording.Lock()
	defer l.recording.Unlock()
	l.recorders = append(l.recorders, r)
}

// started are the recorders that were started so far, in that order.
func (l *Lab) started() []recorder {
	l.recording.Lock()
	defer l.recording.Unlock()
	return slices.Clone(l.recorders)
}

// stopAll stops all recorders that still run: by their stages, in a stage in the order in which they were started.
func (l *Lab) stopAll() error {
	byStage := l.started()
	slices.SortStableFunc(byStage, func(a, b recorder) int { return int(a.stage()) - int(b.stage()) })
	var errs []error
	for _, r := range byStage {
		errs = append(errs, r.stop())
	}
	return errors.Join(errs...)
}

// recordersOf are the lab's recorders of a type, in the order in which they were started.
func recordersOf[T recorder](l *Lab) []T {
	var all []T
	for _, r := range l.started() {
		if of, ok := r.(T); ok {
			all = append(all, of)
		}
	}
	return all
}

// An ending is how a recorder was stopped.
type ending struct {
	stopped bool
}

// once calls f, the first time only.
func (e *ending) once(f func() error) error {
	if e.stopped {
		return nil
	}
	e.stopped = true
	return f()
}

// over is an error as long as something runs that is read when it has been stopped.
func (e *ending) over(what string) error {
	if e.stopped {
		return nil
	}
	return fmt.Errorf("read %s: it still runs: Stop it first", what)
}
