// Package screen shows in a terminal what package watch reads: sockets by state with their history, connections, listeners and
// counters, and one connection over time.
//
//	err := screen.Run(ctx, watcher, screen.Options{Interval: time.Second})
//
// What is drawn is a function of the model alone, line by line, so that tests compare screens. All text that is from elsewhere (names
// of processes, of congestion controls) passes through package text before it is drawn.
package screen

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/tcplab/tcplab/internal/watch"
)

// A Reader reads what is to be shown: a [watch.Watcher].
type Reader interface {
	Read(watch.Query) (*watch.Reading, error)
}

// Options say what to show, and how.
type Options struct {
	Title    string        // what is watched, "" for this machine
	Interval time.Duration // from one reading to the next; 0 is 1 s
	Query    watch.Query   // what is asked for at first: filter and order
	Colour   bool
	ASCII    bool // no characters but those

	In  io.Reader // the terminal: nil is standard input
	Out io.Writer // nil is standard output
}

// whileShown is a reader that reads no more once end has returned: a program that quits does not wait for what its commands do, and who
// called it may close what is read.
type whileShown struct {
	mutex  sync.Mutex
	reader Reader
	ended  bool
}

var errEnded = errors.New("the screen is closed")

// Read implements [Reader].
func (r *whileShown) Read(q watch.Query) (*watch.Reading, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.ended {
		return nil, errEnded
	}
	return r.reader.Read(q)
}

func (r *whileShown) end() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.ended = true
}

// Run shows readings until the person quits, or ctx ends: then it returns the error of ctx.
func Run(ctx context.Context, reader Reader, o Options) error {
	programOptions := []tea.ProgramOption{tea.WithContext(ctx), tea.WithoutSignalHandler()} // who calls has the signals
	if o.In != nil {
		programOptions = append(programOptions, tea.WithInput(o.In))
	}
	if o.Out != nil {
		programOptions = append(programOptions, tea.WithOutput(o.Out))
	}
	only := &whileShown{reader: reader}
	defer only.end()
	_, err := tea.NewProgram(newModel(only, o), programOptions...).Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, tea.ErrInterrupted) {
		return nil
	}
	return err
}

// UTF8 reports whether the environment says that the terminal shows more than ASCII (locale(7)).
func UTF8() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := os.Getenv(name); value != "" {
			return isUTF8(value)
		}
	}
	return false
}
