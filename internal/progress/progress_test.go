package progress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// A buffer can be looked at while it is written to.
type buffer struct {
	mutex sync.Mutex
	data  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.data.Write(p)
}

func (b *buffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.data.String()
}

func (b *buffer) Len() int { return len(b.String()) }

func (b *buffer) Reset() {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.data.Reset()
}

// screen is what a terminal shows of what was written to it: it knows \r, \n and the erasing of a line.
func screen(t *testing.T, written string) string {
	t.Helper()
	var lines []string
	line := ""
	for written != "" {
		switch {
		case strings.HasPrefix(written, eraseLine):
			line, written = "", written[len(eraseLine):]
			continue
		case written[0] == '\n':
			lines, line = append(lines, line), ""
		case written[0] < ' ' || written[0] == 0x7f:
			t.Errorf("a control character: %q", written)
		default:
			line += written[:1]
		}
		written = written[1:]
	}
	return strings.Join(append(lines, line), "\n")
}

func TestTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		width := 80
		d := newDisplay(&out, func() int { return width })
		expect := func(want string) {
			t.Helper()
			synctest.Wait()
			if got := screen(t, out.String()); got != want {
				t.Errorf("the terminal shows\n%s\nexpected\n%s", got, want)
			}
		}
		fmt.Fprintln(d, "before")
		expect("before\n")
		suites := d.Start("compiling suites")
		expect("before\ncompiling suites")
		time.Sleep(1500 * time.Millisecond)
		suites.Set("%d of %d", 3, 12)
		expect("before\ncompiling suites (2s): 3 of 12")
		fmt.Fprintln(d, "a line\nanother")
		expect("before\na line\nanother\ncompiling suites (2s): 3 of 12")
		time.Sleep(time.Minute)
		expect("before\na line\nanother\ncompiling suites (1m1s): 3 of 12")

		inner := d.Start("downloading")
		expect("before\na line\nanother\ndownloading")
		time.Sleep(atMost)
		inner.Set("evil \x1b]0;title\a\r\n\u202etext")
		expect("before\na line\nanother\ndownloading: evil ?]0;title?  ?text")
		width = 10
		time.Sleep(atMost)
		inner.Set("wide")
		expect("before\na line\nanother\ndownlo...")
		width = 80
		inner.Done()
		inner.Done()
		expect("before\na line\nanother\ncompiling suites (1m2s): 3 of 12")

		// A prompt keeps its line until it has got its answer.
		fmt.Fprint(d, "password: ")
		time.Sleep(time.Minute)
		suites.Set("4 of 12")
		expect("before\na line\nanother\npassword: ")
		fmt.Fprintln(d, "***")
		expect("before\na line\nanother\npassword: ***\ncompiling suites (2m2s): 4 of 12")
		suites.Done()
		expect("before\na line\nanother\npassword: ***\n")

		// Nothing is drawn when nothing is under way, and what is left is ended.
		d.Start("left")
		d.Close()
		d.Close()
		size := out.Len()
		time.Sleep(time.Hour)
		if expect("before\na line\nanother\npassword: ***\n"); out.Len() != size {
			t.Errorf("%d bytes more after the end", out.Len()-size)
		}
	})
}

// Many steps in a moment are not as many lines for a terminal that may be at the other end of a slow link.
func TestTerminalIsNotFlooded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		d := newDisplay(&out, func() int { return 80 })
		task := d.Start("reading")
		for i := range 10_000 {
			task.Set("%d", i)
			time.Sleep(time.Millisecond)
		}
		task.Done()
		const most = int(10*time.Second/atMost) + int(10*time.Second/redraw) + 2
		if n := strings.Count(out.String(), eraseLine); n > most || n < 50 {
			t.Errorf("the line was drawn %d times in ten seconds, expected at most %d", n, most)
		}
	})
}

func TestPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		d := newDisplay(&out, nil)
		began := time.Now()
		task := d.Start("compiling suites")
		task.Set("3 of 12\x1b[31m")
		time.Sleep(firstWait - time.Millisecond)
		synctest.Wait()
		if out.Len() != 0 {
			t.Errorf("too early: %q", out.String())
		}
		time.Sleep(10*time.Minute - time.Since(began) + time.Millisecond)
		synctest.Wait()
		const want = "compiling suites (10s): 3 of 12?[31m\n" +
			"compiling suites (30s): 3 of 12?[31m\n" +
			"compiling suites (1m10s): 3 of 12?[31m\n" +
			"compiling suites (2m30s): 3 of 12?[31m\n" +
			"compiling suites (3m50s): 3 of 12?[31m\n"
		if !strings.HasPrefix(out.String(), want) || strings.Count(out.String(), "\n") != 9 {
			t.Errorf("in ten minutes %q", out.String())
		}
		// Where other lines come, none of these does.
		out.Reset()
		for range 100 {
			fmt.Fprintln(d, "passed")
			time.Sleep(firstWait - time.Second)
		}
		if got := out.String(); got != strings.Repeat("passed\n", 100) {
			t.Errorf("between other lines: %q", got)
		}
		// What is said with pauses is not interrupted by the same announcement each time.
		out.Reset()
		for range 100 {
			fmt.Fprintln(d, "passed")
			time.Sleep(lastWait - 2*time.Second)
		}
		synctest.Wait()
		if got := out.String(); got != strings.Repeat("passed\n", 100) {
			t.Errorf("between lines with pauses: %q", got)
		}
		out.Reset()
		task.Done()
		time.Sleep(time.Hour)
		quick := d.Start("nothing much")
		time.Sleep(time.Second)
		quick.Done()
		if out.Len() != 0 {
			t.Errorf("when all is done: %q", out.String())
		}
	})
}

func TestContext(t *testing.T) {
	none := Start(t.Context(), "nothing")
	none.Set("1 of %d", 2)
	none.Done()

	var out buffer
	d := newDisplay(&out, func() int { return 80 })
	ctx, cancel := context.WithCancel(With(t.Context(), d))
	defer cancel()
	something := Start(ctx, "something")
	for _, task := range []*Task{none, something} {
		from := task.ReaderAt(strings.NewReader("text"), 4)
		if got, err := io.ReadAll(io.NewSectionReader(from, 0, 3)); string(got) != "tex" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		if task.ReaderAt(nil, 0) != nil {
			t.Error("there is something of nothing")
		}
	}
	if something.line() != "something: 75 %" {
		t.Errorf("having read three bytes of four: %q", something.line())
	}
	something.Done()
	if got := out.String(); !strings.Contains(got, "something") || screen(t, got) != "" {
		t.Errorf("%q", got)
	}
}

// What a program says is shown from its first line of interest on, however the lines are cut.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		d := newDisplay(&out, func() int { return 80 })
		f := Follow(With(t.Context(), d), "downloading", func(line string) (string, bool) { return strings.CutPrefix(line, "get ") })
		for _, part := range []string{"get", " ready\r", "\nhello\n\n", "get one\nget"} {
			if n, err := f.Write([]byte(part)); n != len(part) || err != nil {
				t.Errorf("%q: %d, %v", part, n, err)
			}
			early := part == "get" || part == " ready\r" // there is no line yet
			if shown := out.Len() > 0; shown == early {
				t.Errorf("after %q there is %q", part, out.String())
			}
			time.Sleep(atMost)
		}
		if got := f.task.line(); got != "downloading: one" {
			t.Errorf("%q", got)
		}
		f.Done()
		if got := screen(t, out.String()); got != "" {
			t.Errorf("in the end: %q", got)
		}
		Follow(t.Context(), "nothing", nil).Done()
	})
}

func TestLinesStayWhole(t *testing.T) {
	for name, width := range map[string]func() int{"terminal": func() int { return 40 }, "pipe": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out buffer
				d := newDisplay(&out, width)
				var all sync.WaitGroup
				for i := range 8 {
					all.Go(func() {
						task := d.Start(fmt.Sprint("task ", i))
						defer task.Done()
						for n := range 20 {
							task.Set("%d of 20", n)
							fmt.Fprintln(d, "line", i)
							time.Sleep(time.Duration(i) * 100 * time.Millisecond)
						}
					})
				}
				all.Wait()
				d.Close()
				count := map[string]int{}
				for line := range strings.Lines(screen(t, out.String())) {
					count[line]++
				}
				for i := range 8 {
					if line := fmt.Sprintln("line", i); count[line] != 20 {
						t.Errorf("%q came %d times, expected 20", line, count[line])
					}
				}
				if len(count) != 8 {
					t.Errorf("there are other lines: %v", count)
				}
			})
		})
	}
}

type fullDisk struct{}

func (fullDisk) Write(p []byte) (int, error) { return 2, errors.New("no space left") }

func TestErrorsAreTheWriters(t *testing.T) {
	d := newDisplay(fullDisk{}, func() int { return 80 })
	d.Start("something")
	defer d.Close()
	if n, err := d.Write([]byte("text\n")); n != 0 || err == nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := d.Write(nil); n != 0 || err != nil {
		t.Errorf("of nothing: %d, %v", n, err)
	}
}

// TestNewKnowsTerminals looks at a terminal, a dumb one and a pipe.
func TestNewKnowsTerminals(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("needs a terminal: ", err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skip("needs a terminal: ", err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skip("needs a terminal: ", err)
	}
	terminal, err := os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("needs a terminal: ", err)
	}
	defer terminal.Close()

	t.Setenv("TERM", "xterm")
	d := New(terminal)
	if d.width == nil || d.width() != 80 {
		t.Error("a terminal of unknown width is not taken for one of 80 columns")
	}
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 25, Col: 132}); err != nil {
		t.Fatal(err)
	}
	if got := d.width(); got != 132 {
		t.Errorf("a terminal of 132 columns has %d", got)
	}
	for _, dumb := range []string{"dumb", ""} {
		t.Setenv("TERM", dumb)
		if New(terminal).width != nil {
			t.Errorf("with TERM=%q the line changes", dumb)
		}
	}
	t.Setenv("TERM", "xterm")
	_, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	for _, out := range []io.Writer{pipe, &bytes.Buffer{}} {
		if New(out).width != nil {
			t.Errorf("in a %T the line changes", out)
		}
	}
}

// What nobody is told of is asked for when the line is drawn, and only then.
func TestMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		d := newDisplay(&out, func() int { return 60 })
		done, asked := 0, 0
		task := d.Start("compiling")
		task.Measure(func() string {
			asked++
			return fmt.Sprintf("%d of 3 done", done)
		})
		time.Sleep(redraw + redraw/2)
		synctest.Wait()
		if shown := screen(t, out.String()); shown != "compiling (1s): 0 of 3 done" || asked != 1 {
			t.Errorf("%q, asked %d times", shown, asked)
		}
		d.mutex.Lock()
		done = 2
		d.mutex.Unlock()
		time.Sleep(redraw)
		synctest.Wait()
		if shown := screen(t, out.String()); shown != "compiling (2s): 2 of 3 done" {
			t.Errorf("%q", shown)
		}
		task.Done()
		(*Task)(nil).Measure(nil)
	})
}
