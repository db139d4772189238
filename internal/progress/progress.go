// Package progress tells people about what takes long.
//
// On a terminal the last line changes: what is being done, how far it has come, and for how long it has been going
// on. Elsewhere (a pipe, a log of CI) plain lines say the same when nothing else was printed for a while, ever more
// rarely. Whoever does something long finds the display in its context, as with net/http/httptrace, so that what lies
// between need not pass it on.
package progress

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/tcplab/tcplab/internal/text"
)

const (
	// redraw is how often the time on a terminal is brought up to date; steps are shown no more often than atMost.
	redraw = time.Second
	atMost = 100 * time.Millisecond

	// A plain line comes when nothing was printed for firstWait, the next one for twice that time, up to lastWait.
	firstWait = 10 * time.Second
	lastWait  = 80 * time.Second
)

// A Display is a writer of whole lines with the tasks that are under way below them. All methods can be called from any
// goroutine.
type Display struct {
	out   io.Writer
	width func() int // of the terminal; nil where out is none

	mutex   sync.Mutex
	tasks   []*Task // under way; the last one is shown
	wake    chan struct{}
	shown   bool          // there is a line to be erased
	open    bool          // what was written last does not end its line
	changed time.Time     // when something was printed, or the line drawn
	wait    time.Duration // until the next plain line
}

// New returns a display for out. Its line changes if out is a terminal that can erase one.
func New(out io.Writer) *Display {
	file, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) || os.Getenv("TERM") == "" || os.Getenv("TERM") == "dumb" {
		return newDisplay(out, nil)
	}
	return newDisplay(out, func() int {
		width, _, err := term.GetSize(int(file.Fd()))
		if err != nil || width <= 0 {
			return 80
		}
		return width
	})
}

func newDisplay(out io.Writer, width func() int) *Display {
	return &Display{out: out, width: width}
}

// Write writes above the line that changes. What does not end with a line's end keeps that line away until the rest
// comes.
func (d *Display) Write(p []byte) (int, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	var erase []byte
	if d.shown {
		erase, d.shown = []byte(eraseLine), false
	}
	n, err := d.out.Write(append(erase, p...))
	d.open = !bytes.HasSuffix(p, []byte("\n"))
	d.changed = time.Now() // and d.wait stays: a silence that was announced once need not be each time
	d.draw()
	return max(0, n-len(erase)), err
}

// A Task is something that takes long. The methods of nil do nothing.
type Task struct {
	display *Display
	name    string
	detail  string
	measure func() string
	began   time.Time
}

// Start begins a task that Done ends. Of several that are under way the one that began last is shown.
func (d *Display) Start(name string) *Task {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	t := &Task{display: d, name: name, began: time.Now()}
	d.tasks = append(d.tasks, t)
	if len(d.tasks) == 1 {
		d.wake = make(chan struct{})
		d.changed, d.wait = time.Now(), firstWait
		go d.run(d.wake)
	}
	d.draw()
	return t
}

// Set says how far a task has come.
func (t *Task) Set(format string, args ...any) {
	if t == nil {
		return
	}
	d := t.display
	d.mutex.Lock()
	defer d.mutex.Unlock()
	t.detail = fmt.Sprintf(format, args...)
	if time.Since(d.changed) >= atMost {
		d.draw()
	}
}

// Measure has a function asked, whenever the line is shown, how far a task has come: for what tells nobody. It must
// not use the display.
func (t *Task) Measure(detail func() string) {
	if t == nil {
		return
	}
	t.display.mutex.Lock()
	defer t.display.mutex.Unlock()
	t.measure = detail
}

// ReaderAt passes on what it reads of a file that has a size, and says how far into it that is.
func (t *Task) ReaderAt(from io.ReaderAt, size int64) io.ReaderAt {
	if t == nil || size <= 0 {
		return from
	}
	return &follower{from: from, size: size, task: t}
}

type follower struct {
	from io.ReaderAt
	size int64
	task *Task
}

func (f *follower) ReadAt(p []byte, offset int64) (int, error) {
	n, err := f.from.ReadAt(p, offset)
	f.task.Set("%d %%", 100*(offset+int64(n))/f.size)
	return n, err
}

// Done ends a task, and takes its line away.
func (t *Task) Done() {
	if t == nil {
		return
	}
	d := t.display
	d.mutex.Lock()
	defer d.mutex.Unlock()
	i := slices.Index(d.tasks, t)
	if i < 0 {
		return
	}
	d.tasks = slices.Delete(d.tasks, i, i+1)
	if len(d.tasks) == 0 {
		close(d.wake)
	}
	d.draw()
}

// Close takes the line away and ends what is under way.
func (d *Display) Close() {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if len(d.tasks) > 0 {
		close(d.wake)
	}
	d.tasks = nil
	d.draw()
}

// run keeps what is shown up to date until there is no task.
func (d *Display) run(end <-chan struct{}) {
	ticker := time.NewTicker(redraw)
	defer ticker.Stop()
	for {
		select {
		case <-end:
			return
		case <-ticker.C:
		}
		d.mutex.Lock()
		if d.width != nil {
			d.draw()
		} else if len(d.tasks) > 0 && !d.open && time.Since(d.changed) >= d.wait {
			fmt.Fprintln(d.out, d.tasks[len(d.tasks)-1].line())
			d.changed, d.wait = time.Now(), min(2*d.wait, lastWait)
		}
		d.mutex.Unlock()
	}
}

// eraseLine goes to the line's beginning and erases it (ECMA-48, EL).
const eraseLine = "\r\x1b[K"

// draw brings the line of a terminal up to date. The caller has the lock.
func (d *Display) draw() {
	if d.width == nil || d.open {
		return
	}
	var line strings.Builder
	if d.shown {
		line.WriteString(eraseLine)
	}
	d.shown = len(d.tasks) > 0
	if d.shown {
		// In the last column the cursor would wait for a line that is never begun.
		line.WriteString(text.Cut(d.tasks[len(d.tasks)-1].line(), d.width()-1))
		d.changed = time.Now()
	}
	if line.Len() > 0 {
		_, _ = io.WriteString(d.out, line.String()) // whoever writes what matters is told of errors
	}
}

// line is such as "compiling suites (48s): 3 of 12". What is least needed stands last, where it may be cut off.
func (t *Task) line() string {
	line := t.name
	if since := time.Since(t.began).Round(time.Second); since > 0 {
		line += " (" + since.String() + ")"
	}
	detail := t.detail
	if t.measure != nil {
		detail = t.measure()
	}
	if detail != "" {
		line += ": " + detail
	}
	return text.Printable(line)
}

// A Follower shows what a program's output tells of how far it is.
type Follower struct {
	ctx     context.Context
	name    string
	detail  func(line string) (detail string, ok bool)
	task    *Task
	partial string
}

// Follow returns a writer for a program's output. A function makes a task's detail of a line, where it can; nothing
// is shown before the first of those.
func Follow(ctx context.Context, name string, detail func(line string) (string, bool)) *Follower {
	return &Follower{ctx: ctx, name: name, detail: detail}
}

// Write takes some output, which need not end with a line's end.
func (f *Follower) Write(p []byte) (int, error) {
	for part := range strings.Lines(string(p)) {
		f.partial += part
		if !strings.HasSuffix(part, "\n") {
			continue
		}
		if detail, ok := f.detail(strings.TrimSpace(f.partial)); ok {
			if f.task == nil {
				f.task = Start(f.ctx, f.name)
			}
			f.task.Set("%s", detail)
		}
		f.partial = ""
	}
	return len(p), nil
}

// Done ends the task, if there was one.
func (f *Follower) Done() { f.task.Done() }

type contextKey struct{}

// With returns a context in which Start shows tasks on a display.
func With(ctx context.Context, d *Display) context.Context {
	return context.WithValue(ctx, contextKey{}, d)
}

// Start begins a task on the context's display. Without one it returns nil, of which all methods do nothing.
func Start(ctx context.Context, name string) *Task {
	if d, ok := ctx.Value(contextKey{}).(*Display); ok {
		return d.Start(name)
	}
	return nil
}
