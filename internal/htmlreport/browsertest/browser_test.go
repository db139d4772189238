package browsertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/internal/htmlreport"
	"github.com/tcplab/tcplab/internal/htmlreport/reporttest"
	"github.com/tcplab/tcplab/internal/picture"
	"github.com/tcplab/tcplab/results"
)

// records are scenarios that have run: two lost tail segments, a receiver that dies, a half-close.
const records = "../../picture/testdata"

var names = []string{"tailloss", "deadreceiver", "halfclose"}

// limit is how long a test may take: a busy machine is slow, and a page that hangs is to be told from that.
const limit = 2 * time.Minute

var chromium = sync.OnceValues(func() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
})

// A tab has a page open, and what it has complained about, or asked for.
type tab struct {
	testing.TB
	ctx context.Context

	mu       sync.Mutex
	faults   []string
	requests []string
}

// open opens a page in a browser of its own.
func open(t testing.TB, file, hash string) *tab {
	t.Helper()
	path, err := chromium()
	if err != nil {
		t.Skip("needs chromium, to open the page: apt-get install chromium")
	}
	// It runs as root here and there, which Chromium's sandbox does not; the page is ours.
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1440, 900), chromedp.WSURLReadTimeout(limit))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...) // t.Context() ends before what Cleanup has to do
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	p := &tab{TB: t, ctx: ctx}
	if err := chromedp.Listen(ctx, p.listen); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(ctx, limit)
	t.Cleanup(cancel)
	p.ctx = ctx
	enable := chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, inNetwork := cdp.Call(ctx, target, network.Enable, network.EnableParams{})
		_, inLog := cdp.Call(ctx, target, log.Enable, cdp.Empty{})
		_, inScripts := cdp.Call(ctx, target, runtime.Enable, cdp.Empty{})
		return errors.Join(inNetwork, inLog, inScripts)
	})
	p.do(enable, chromedp.Navigate("file://"+(&url.URL{Path: file}).EscapedPath()+hash), chromedp.WaitReady("html[data-ready]"))
	t.Cleanup(p.check)
	return p
}

func (p *tab) listen(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, e.Request.URL)
	case *runtime.EventExceptionThrown:
		p.faults = append(p.faults, exceptionText(e.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			p.faults = append(p.faults, fmt.Sprintf("console: %+v", e.Args))
		}
	case *log.EventEntryAdded: // what the Content-Security-Policy stops is among them
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			p.faults = append(p.faults, e.Entry.Text)
		}
	}
}

func exceptionText(e *runtime.ExceptionDetails) string {
	if e.Exception == nil {
		return e.Text
	}
	return e.Text + ": " + e.Exception.Description
}

// check is what holds for every page, whatever was done with it.
func (p *tab) check() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fault := range p.faults {
		p.Errorf("the page complains: %s", fault)
	}
	for _, request := range p.requests {
		if !strings.HasPrefix(request, "file://") || !strings.HasSuffix(strings.SplitN(request, "#", 2)[0], ".html") {
			p.Errorf("the page asks for %s", request)
		}
	}
}

func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.Fatal(err)
	}
}

// js is what an expression is.
func js[T any](p *tab, expression string) T {
	p.Helper()
	value, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		p.Fatalf("%s: %v", expression, err)
	}
	return value
}

// await waits until an expression is true.
func (p *tab) await(expression string) {
	p.Helper()
	if err := chromedp.Do(p.ctx, chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingTimeout(limit))); err != nil {
		p.Fatalf("waiting for %s: %v; the page is at %s", expression, err, js[string](p, "location.hash"))
	}
}

// shows waits until a scenario is drawn.
func (p *tab) shows(hash string) {
	p.Helper()
	p.do(chromedp.Evaluate[chromedp.Void](`location.hash = ` + strconv.Quote(hash)))
	p.await(`document.documentElement.dataset.page === new URLSearchParams(location.hash.slice(1)).get('s') && document.querySelector('.plot.sequence canvas') !== null && document.querySelectorAll('.ladder .arrow').length > 0`)
}

// state is a value of the hash.
func (p *tab) state(key string) string {
	p.Helper()
	return js[string](p, `new URLSearchParams(location.hash.slice(1)).get(`+strconv.Quote(key)+`) || ''`)
}

// zoom is what the hash says that is seen, in nanoseconds.
func (p *tab) zoom() (from, to float64) {
	p.Helper()
	a, b, found := strings.Cut(p.state("z"), "-")
	if !found {
		p.Fatalf("nothing is zoomed: %s", p.state("z"))
	}
	from, err := strconv.ParseFloat(a, 64)
	if err != nil {
		p.Fatal(err)
	}
	if to, err = strconv.ParseFloat(b, 64); err != nil {
		p.Fatal(err)
	}
	return from, to
}

func write(t testing.TB, report results.Report) string {
	t.Helper()
	return writeSize(t, report, 0)
}

func writeSize(t testing.TB, report results.Report, size int) string {
	t.Helper()
	var page bytes.Buffer
	if err := htmlreport.Write(&page, report, htmlreport.Options{Size: size}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, page.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestOverview(t *testing.T) {
	p := open(t, write(t, reporttest.Report(t, records, names...)), "")
	entries := func() int { return js[int](p, `document.querySelectorAll('.entry').length`) }
	if n := entries(); n != len(names) {
		t.Fatalf("%d scenarios are shown, of %d", n, len(names))
	}
	p.do(chromedp.SendKeys("#search", "tail"))
	p.await(`document.querySelectorAll('.entry').length === 1`)
	if q := p.state("q"); q != "tail" {
		t.Errorf("the hash has the search %q", q)
	}
	p.do(chromedp.Evaluate[chromedp.Void](`(() => { const s = document.getElementById('search'); s.value = ''; s.dispatchEvent(new Event('input')); })()`))
	p.do(chromedp.Evaluate[chromedp.Void](`(() => { const s = document.getElementById('filter-suite'); s.value = 'flowcontrol'; s.dispatchEvent(new Event('change')); })()`))
	p.await(`document.querySelectorAll('.entry').length === 1 && document.querySelector('.entry').textContent.includes('flowcontrol')`)

	p.do(chromedp.Evaluate[chromedp.Void](`(() => { const s = document.getElementById('lang'); s.value = 'zh'; s.dispatchEvent(new Event('change')); })()`))
	p.await(`document.documentElement.lang === 'zh-Hans' && document.querySelector('h1').textContent === '场景'`)
	p.do(chromedp.Evaluate[chromedp.Void](`(() => { const s = document.getElementById('theme'); s.value = 'dark'; s.dispatchEvent(new Event('change')); })()`))
	p.await(`getComputedStyle(document.body).backgroundColor === 'rgb(20, 24, 28)'`)

	p.do(chromedp.Click(".entry a"))
	p.await(`document.querySelector('.plot.sequence canvas') !== null`)
	p.do(chromedp.NavigateBack())
	p.await(`document.querySelectorAll('.entry').length === 1`)
}

// The numbers behind the plot are those of the capture.
func TestNumbers(t *testing.T) {
	p := open(t, write(t, reporttest.Report(t, records, names...)), "")
	for i, name := range names {
		p.shows(fmt.Sprintf("#s=%d&lang=en", i))
		p.do(chromedp.Evaluate[chromedp.Void](`document.querySelector('.sequence-section details.behind').open = true`))
		p.await(`document.querySelectorAll('.sequence-section details.behind tbody tr').length > 0`)
		rows := js[[][]string](p, `[...document.querySelectorAll('.sequence-section details.behind tbody tr')].map((r) => [...r.children].map((c) => c.textContent))`)
		segments, err := analysis.ReadFile(filepath.Join(records, name, "capture.pcapng"))
		if err != nil {
			t.Fatal(err)
		}
		byFrame := map[string]analysis.Segment{}
		for _, s := range segments {
			byFrame[strconv.Itoa(s.Frame)] = s
		}
		var first time.Time
		var offset float64
		for _, row := range rows {
			s, known := byFrame[row[0]]
			if !known || s.Interface != row[2] || s.Flags.String() != row[3] || strconv.Itoa(s.Length) != row[6] {
				t.Errorf("%s: the table has %q, the capture %v", name, row, s)
			}
			ms, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimSuffix(row[1], " ms"), ",", ""), 64)
			if err != nil {
				t.Fatal(err)
			}
			if first.IsZero() {
				first, offset = s.Time, ms
			}
			if want := float64(s.Time.Sub(first).Nanoseconds()); int64((ms-offset)*1e6+0.5) != int64(want) && int64((ms-offset)*1e6-0.5) != int64(want) {
				t.Errorf("%s: frame %s is at %v ms, and %v ns after the first", name, row[0], ms, want)
			}
		}
		if len(rows) == 0 {
			t.Errorf("%s: the table is empty", name)
		}
	}
}

func TestZoom(t *testing.T) {
	p := open(t, write(t, reporttest.Report(t, records, names...)), "")
	p.shows("#s=0")
	p.do(chromedp.ScrollIntoView(".plot.sequence .u-over"))
	box := js[map[string]float64](p, `document.querySelector('.plot.sequence .u-over').getBoundingClientRect().toJSON()`)
	y := box["top"] + box["height"]/2
	at := func(share float64) float64 { return box["left"] + share*box["width"] }
	mouse := func(kind input.DispatchMouseEventType, x float64, clicks int) chromedp.Action[chromedp.Void] {
		return chromedp.MouseEvent(kind, x, y, chromedp.ButtonLeft, chromedp.ClickCount(clicks))
	}
	p.do(mouse(chromedp.MouseMoved, at(0.3), 0), mouse(chromedp.MousePressed, at(0.3), 1), mouse(chromedp.MouseMoved, at(0.4), 0), mouse(chromedp.MouseMoved, at(0.6), 0), mouse(chromedp.MouseReleased, at(0.6), 1))
	p.await(`location.hash.includes('z=')`)
	from, to := p.zoom()
	p.do(mouse(chromedp.MousePressed, at(0.5), 1), mouse(chromedp.MouseReleased, at(0.5), 1), mouse(chromedp.MousePressed, at(0.5), 2), mouse(chromedp.MouseReleased, at(0.5), 2))
	p.await(fmt.Sprintf(`!location.hash.includes('z=%.0f-')`, from))
	all, end := p.zoom()
	if width := (to - from) / (end - all); width < 0.28 || width > 0.32 || from < all || to > end {
		t.Errorf("a drag over 30 %% of %v to %v shows %v to %v", all, end, from, to)
	}

	p.do(chromedp.Focus(".plot.sequence"), chromedp.KeyEvent("+"))
	p.await(fmt.Sprintf(`!location.hash.includes('z=%.0f-')`, all))
	if from, to = p.zoom(); (to-from)/(end-all) > 0.51 {
		t.Errorf("the key + shows %v to %v, of %v to %v", from, to, all, end)
	}
	p.do(chromedp.KeyEvent("0"))
	p.await(fmt.Sprintf(`location.hash.includes('z=%.0f-')`, all))

	// A link leads to what is seen: in a page of its own, too.
	link := js[string](p, "location.hash")
	p.do(chromedp.KeyEvent("+"), chromedp.Reload(), chromedp.WaitReady(".plot.sequence canvas"))
	if again := js[string](p, "location.hash"); again == link {
		t.Error("the hash does not follow what is seen")
	}
}

// From a mark to its packet by mouse and by keyboard, to its neighbours, and back.
func TestPacket(t *testing.T) {
	p := open(t, write(t, reporttest.Report(t, records, names...)), "")
	p.shows("#s=0&lang=en")

	p.do(chromedp.Focus(".plot.sequence"), chromedp.KeyEvent(kb.ArrowRight), chromedp.KeyEvent(kb.ArrowRight))
	if said := js[string](p, `document.getElementById('live').textContent`); !strings.Contains(said, "SYN ACK") && !strings.Contains(said, "ACK") {
		t.Errorf("of the packet under the cursor is said %q", said)
	}
	p.do(chromedp.KeyEvent(kb.Enter))
	p.await(`document.activeElement.id === 'packet'`)
	if title := js[string](p, `document.getElementById('packet-title').textContent`); title != "Packet 2" {
		t.Errorf("the second mark opens %q", title)
	}
	fields := js[string](p, `document.getElementById('packet').textContent`)
	for _, want := range []string{"Sequence Number", "RFC 9293", "Maximum Segment Size", "tcplab decode"} {
		if !strings.Contains(fields, want) {
			t.Errorf("the packet has no %q in %q", want, fields)
		}
	}
	p.do(chromedp.Click("#packet .steps a:last-of-type"))
	p.await(`document.getElementById('packet-title').textContent === 'Packet 3'`)
	p.do(chromedp.KeyEvent(kb.Escape))
	p.await(`document.getElementById('packet') === null && document.activeElement.classList.contains('sequence')`)

	// What died leads to the rule that did it, and to its retransmission.
	p.do(chromedp.Evaluate[chromedp.Void](`document.querySelector('.ladder .arrow.dropped').dispatchEvent(new MouseEvent('click', {bubbles: true}))`))
	p.await(`document.getElementById('packet') !== null`)
	text := js[string](p, `document.getElementById('packet').textContent`)
	for _, want := range []string{"dropped", "drop data 11 to 12", "Retransmitted", "router/eth1 dropped"} {
		if !strings.Contains(text, want) {
			t.Errorf("the dropped packet does not say %q: %s", want, text)
		}
	}
	p.do(chromedp.NavigateBack())
	p.await(`document.getElementById('packet') === null`)

	// By mouse: wherever the pointer shows a packet, a click opens it.
	p.do(chromedp.ScrollIntoView(".plot.sequence .u-over"))
	box := js[map[string]float64](p, `document.querySelector('.plot.sequence .u-over').getBoundingClientRect().toJSON()`)
	found := false
	for x := box["left"] + 2; x < box["right"] && !found; x += 8 {
		for y := box["top"] + 4; y < box["bottom"] && !found; y += 24 {
			p.do(chromedp.MouseEvent(chromedp.MouseMoved, x, y))
			if found = js[bool](p, `document.querySelector('.tip').hidden === false`); found {
				tip := js[string](p, `document.querySelector('.tip').textContent`)
				p.do(chromedp.MouseClickXY(x, y))
				p.await(`document.getElementById('packet') !== null`)
				title := js[string](p, `document.getElementById('packet-title').textContent`)
				if frame := strings.TrimPrefix(title, "Packet "); !strings.HasPrefix(tip, "Frame "+frame+",") {
					t.Errorf("the pointer shows %q, and a click opens %q", tip, title)
				}
			}
		}
	}
	if !found {
		t.Error("nowhere in the plot the pointer shows a packet")
	}
}

func TestLadder(t *testing.T) {
	report := reporttest.Report(t, records, names...)
	p := open(t, write(t, report), "")
	unfolded := false
	for i := range names {
		p.shows(fmt.Sprintf("#s=%d", i))
		before := js[int](p, `document.querySelectorAll('.ladder .arrow').length`)
		if js[int](p, `document.querySelectorAll('.ladder .fold').length`) == 0 {
			continue
		}
		unfolded = true
		p.do(chromedp.Focus(".ladder .fold"), chromedp.KeyEvent(kb.Enter))
		p.await(fmt.Sprintf(`document.querySelectorAll('.ladder .arrow').length > %d`, before))
		if p.state("unfold") == "" {
			t.Error("the hash does not say what is unfolded")
		}
	}
	if !unfolded {
		t.Error("no ladder has a fold")
	}
}

// Beside the lifelines are the states of both sockets, and the timers that fired.
func TestStatesAndTimers(t *testing.T) {
	report := reporttest.Report(t, records, names...)
	p := open(t, write(t, report), "")
	for i, record := range report.Records {
		whole := picture.OfScenario(record)
		p.shows(fmt.Sprintf("#s=%d&c=0&v=0&lang=en", i))
		states, timers := 0, 0
		for _, b := range whole.Bands {
			if b.Name == picture.BandState && b.Connection == 0 {
				states++
			}
		}
		for _, a := range whole.Ladder(0, whole.Connections[0].Views[0].Place) {
			if whole.Packets[a.Packet].Timer != picture.TimerNone {
				timers++
			}
		}
		for selector, want := range map[string]int{".ladder .note.state": states, ".ladder .note.timer": timers} {
			if n := js[int](p, `document.querySelectorAll(`+strconv.Quote(selector)+`).length`); n != want {
				t.Errorf("%s has %d of %s, want %d", names[i], n, selector, want)
			}
		}
		if label := js[string](p, `document.querySelector('.ladder .note.state').getAttribute('aria-label')`); !strings.Contains(label, "SYN-SENT") {
			t.Errorf("%s: the first state is called %q", names[i], label)
		}
	}
}

// The page's time-sequence plot has as many marks of each kind as package picture, which draws it for papers.
func TestSequenceIsPackagePictures(t *testing.T) {
	words := map[picture.MarkKind]string{
		picture.MarkACK: "ACKs", picture.MarkSACK: "SACK blocks", picture.MarkDSACK: "DSACK blocks", picture.MarkDropped: "dropped by a rule",
		picture.MarkLost: "lost on the way", picture.MarkActed: "a rule acted on it", picture.MarkZero: "zero window", picture.MarkReset: "reset",
	}
	report := reporttest.Report(t, records, names...)
	p := open(t, write(t, report), "")
	for i, record := range report.Records {
		whole := picture.OfScenario(record)
		for direction, fromServer := range []bool{false, true} {
			want := map[string]int{}
			for _, m := range whole.Sequence(0, whole.Connections[0].Views[0].Place, fromServer) {
				k := whole.Packets[m.Packet]
				switch word, known := words[m.Kind]; {
				case known:
					want[word]++
				case m.Kind == picture.MarkSegment && k.Cause == picture.None:
					want["first transmission"]++
				case m.Kind == picture.MarkSegment:
					want["retransmission: "+analysis.Cause(k.Cause).String()]++
				}
			}
			p.shows(fmt.Sprintf("#s=%d&c=0&v=0&d=%d&lang=en", i, direction))
			p.await(fmt.Sprintf(`document.querySelector('select[name=d]').selectedIndex === %d`, direction))
			got := map[string]int{}
			for _, text := range js[[]string](p, `[...document.querySelectorAll('.sequence-section .legend li')].map((x) => x.lastChild.textContent.trim())`) {
				word, count, _ := strings.Cut(strings.TrimSuffix(text, ")"), " (")
				if got[word], _ = strconv.Atoi(count); got[word] == 0 {
					t.Errorf("the legend says %q", text)
				}
			}
			if !maps.Equal(got, want) {
				t.Errorf("%s, direction %d: the page has %v, package picture %v", names[i], direction, got, want)
			}
		}
	}
}

// Two runs of a scenario are drawn on one axis, with their differences.
func TestCompare(t *testing.T) {
	report := reporttest.Report(t, records, names[0])
	other := *report.Records[0]
	other.Kernel.Release = "9.9.9-other"
	other.Metrics = slices.Clone(other.Metrics)
	other.Metrics[0].Value *= 2
	other.Counters = nil
	report.Records = append(report.Records, &other)
	p := open(t, write(t, report), "#lang=en")
	p.await(`document.querySelector('.matrix a[href*="with="]') !== null`)
	if text := js[string](p, `document.querySelector('.matrix').textContent`); !strings.Contains(text, "differs") || !strings.Contains(text, "+100 %") {
		t.Errorf("the matrix does not say what differs: %s", text)
	}
	p.do(chromedp.Focus(`.matrix a[href*="with="]`), chromedp.KeyEvent(kb.Enter))
	p.await(`document.documentElement.dataset.beside === '1' && document.querySelectorAll('.strips .plot canvas').length >= 3`)
	differences := js[string](p, `document.querySelector('.differences').textContent`)
	if metric := report.Records[0].Metrics[0].Name; !strings.Contains(differences, metric) || !strings.Contains(differences, "+100 %") || !strings.Contains(differences, "TcpRetransSegs") {
		t.Errorf("the differences are %q", differences)
	}
	// Both have the same capture: each plot has both lines, with the same extremes.
	for _, legend := range js[[][]string](p, `[...document.querySelectorAll('.strips .legend')].map((x) => [...x.children].map((li) => li.lastChild.textContent))`) {
		if len(legend) != 2 || !strings.Contains(legend[0], "(A") || strings.Replace(legend[0], "(A", "(B", 1) != legend[1] {
			t.Errorf("a plot has %q", legend)
		}
	}
	p.do(chromedp.Evaluate[chromedp.Void](`(() => { const s = document.getElementById('with'); s.value = ''; s.dispatchEvent(new Event('change')); })()`))
	p.await(`document.documentElement.dataset.beside === '' && document.querySelector('.plot.sequence canvas') !== null`)
}

// Two runs of one kernel and seed are told apart by their names, on the overview, in the filter and beside each other.
func TestTwoRuns(t *testing.T) {
	before, after := reporttest.Report(t, records, names[0]), reporttest.Report(t, records, names[0])
	before.Run, after.Run = "/results/before", "/results/after"
	changed := *after.Records[0]
	changed.Metrics = slices.Clone(changed.Metrics)
	changed.Metrics[0].Value *= 2
	after.Records[0] = &changed
	both, err := results.Join(before, after)
	if err != nil {
		t.Fatal(err)
	}
	p := open(t, write(t, both), "#lang=en")
	if text := js[string](p, `document.querySelector('.matrix').textContent`); !strings.Contains(text, "Run before") || !strings.Contains(text, "Run after") || !strings.Contains(text, "+100 %") {
		t.Errorf("the matrix does not tell the runs apart: %s", text)
	}
	p.do(chromedp.Evaluate[chromedp.Void](`(() => { const s = document.getElementById('filter-run'); s.value = 'after'; s.dispatchEvent(new Event('change')); })()`))
	p.await(`document.querySelectorAll('.entry').length === 1 && document.querySelector('.entry .meta').textContent.includes('Run after')`)
	p.do(chromedp.Evaluate[chromedp.Void](`location.hash = '#lang=en&s=0&with=1'`))
	p.await(`document.documentElement.dataset.beside === '1' && document.querySelectorAll('.strips .plot canvas').length >= 3`)
	if sides := js[string](p, `document.querySelector('.sides').textContent`); !strings.Contains(sides, "Run before") || !strings.Contains(sides, "Run after") {
		t.Errorf("the two sides are called %q", sides)
	}
}

// Each side's TCP state is a band on the axis of the plots, a table behind it, and is read aloud.
func TestStateBand(t *testing.T) {
	report := reporttest.Report(t, records, names[0])
	p := open(t, write(t, report), "#s=0&c=0&v=0&lang=en")
	p.await(`document.querySelector('.plot.states canvas') !== null`)
	var want []string
	for _, b := range picture.OfScenario(report.Records[0]).Bands {
		if b.Name == picture.BandState && b.Connection == 0 {
			want = append(want, map[bool]string{true: "server ", false: "client "}[b.FromServer]+picture.StateName(b.Value))
		}
	}
	p.do(chromedp.Evaluate[chromedp.Void](`document.querySelector('.plot.states').parentElement.querySelector('details').open = true`))
	p.await(`document.querySelector('.plot.states').parentElement.querySelector('tbody') !== null`)
	got := js[[]string](p, `[...document.querySelector('.plot.states').parentElement.querySelectorAll('tbody tr')].map((r) => r.children[1].textContent + ' ' + r.children[2].textContent)`)
	slices.Sort(want)
	if sorted := slices.Sorted(slices.Values(got)); len(got) == 0 || !slices.Equal(sorted, want) {
		t.Errorf("the table has %q, the picture %q", sorted, want)
	}
	p.do(chromedp.Focus(".plot.states"), chromedp.KeyEvent(kb.ArrowRight))
	p.await(`document.getElementById('live').textContent.startsWith('client: SYN-SENT')`)
	p.do(chromedp.KeyEvent(kb.ArrowRight))
	p.await(`!document.getElementById('live').textContent.includes('SYN-SENT')`)
	p.do(chromedp.Focus(".plot.sequence"), chromedp.KeyEvent(kb.ArrowRight))
	p.await(`/; client: [A-Z]/.test(document.getElementById('live').textContent)`)
}

// sweepPage is the page of a sweep over losses and round trips, with five seeds; the point without loss leads to the first record.
func sweepPage(t testing.TB) string {
	t.Helper()
	report := reporttest.Report(t, records, names[0])
	report.Records[0].Scenario = "cubic 0 20000000"
	var points []map[string]any
	for n, control := range []string{"bbr", "cubic"} {
		for i, loss := range []float64{0, 0.001, 0.01, 0.05} {
			for k, rtt := range []int{20_000_000, 80_000_000} {
				base := 10 - float64(i*(1+n)) - float64(k)
				f := map[string]any{"unit": "Mbit/s", "values": []float64{base - 0.4, base - 0.1, base, base + 0.1, base + 0.3}, "median": base, "low": base - 0.4, "high": base + 0.3, "confidence": 0.94}
				points = append(points, map[string]any{"name": fmt.Sprintf("%s %v %d", control, loss, rtt), "loss": loss, "rtt_ns": rtt, "rate_bit_per_s": 10_000_000,
					"flows": []map[string]any{{"congestion": control}}, "figures": map[string]any{"goodput": f, "utilisation": map[string]any{"unit": "%", "values": []float64{90, 91, 92, 93, 94}, "median": 92, "low": 90, "high": 94, "confidence": 0.94}}})
			}
		}
	}
	document, err := json.Marshal(map[string]any{"kernel": report.Records[0].Kernel.Release, "seeds": []uint64{report.Records[0].Seed, 2, 3, 4, 5}, "points": points, "failed": []string{"bbr, seed 9: it did not"}})
	if err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	if err := htmlreport.WriteSweep(&page, document, report, htmlreport.Options{}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "sweep.html")
	if err := os.WriteFile(file, page.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// A sweep is seen as figure, heat map, box plots and distributions; its numbers are those that were measured, and a point leads to its scenario.
func TestSweep(t *testing.T) {
	p := open(t, sweepPage(t), "#lang=en")
	p.await(`document.querySelectorAll('svg.sweep').length >= 3`)
	if n := js[int](p, `document.querySelectorAll('.sweep-section .figure')[0].querySelectorAll('.point').length`); n != 8 {
		t.Errorf("the figure has %d points, want 2 controls by 4 losses", n)
	}
	for selector, want := range map[string]int{".heat": 8, ".sweep .box": 8, ".sweep path.median": 2, ".sweep polygon.band": 2} {
		if n := js[int](p, `document.querySelectorAll(`+strconv.Quote(selector)+`).length`); n != want {
			t.Errorf("%d of %s, want %d", n, selector, want)
		}
	}
	if row := js[[]string](p, `[...document.querySelectorAll('.heat-map tbody tr')[1].children].map((x) => x.textContent)`); !slices.Equal(row, []string{"cubic", "10 Mbit/s", "8 Mbit/s", "6 Mbit/s", "4 Mbit/s"}) {
		t.Errorf("cubic's row is %q", row)
	}
	p.do(chromedp.Evaluate[chromedp.Void](`(() => { const s = document.getElementById('sweep-m'); s.value = 'utilisation'; s.dispatchEvent(new Event('change')); })()`))
	p.await(`document.querySelector('.heat').textContent === '92 %'`)
	p.do(chromedp.Evaluate[chromedp.Void](`(() => { const s = document.getElementById('sweep-by'); s.value = 'rtt_ns'; s.dispatchEvent(new Event('change')); })()`))
	p.await(`document.querySelector('.heat-map tbody th').textContent === '20 ms'`)
	if p.state("m") != "utilisation" || p.state("by") != "rtt_ns" {
		t.Errorf("the hash is %s", js[string](p, "location.hash"))
	}
	p.do(chromedp.Evaluate[chromedp.Void](`location.hash = '#lang=en'`))
	p.await(`document.querySelector('a.point') !== null && document.querySelector('.heat').textContent === '10 Mbit/s'`)
	label := js[string](p, `document.querySelector('a.point').getAttribute('aria-label')`)
	if label != "cubic, Loss 0 %: median 10 Mbit/s (9.6 Mbit/s to 10.3 Mbit/s) of 5 seeds, 94 % sure" {
		t.Errorf("a point is called %q", label)
	}
	p.do(chromedp.Focus("a.point"), chromedp.KeyEvent(kb.Enter))
	p.await(`document.querySelector('.plot.sequence canvas') !== null`)
}

func TestPrints(t *testing.T) {
	p := open(t, write(t, reporttest.Report(t, records, names...)), "")
	p.shows("#s=0")
	pdf, err := chromedp.Run(p.ctx, chromedp.PrintToPDF())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(pdf, []byte("%PDF-")) || len(pdf) < 20_000 {
		t.Errorf("the page prints as %d bytes", len(pdf))
	}
}

// views are what is looked at: in each nothing is wider than the window.
func views() []string {
	all := []string{"#"}
	for i := range names {
		all = append(all, fmt.Sprintf("#s=%d", i))
	}
	return append(all, "#s=0&with=1", "#s=0&p=12")
}

func (p *tab) view(hash, lang, theme string) {
	p.Helper()
	separator := "&"
	if hash == "#" {
		separator = ""
	}
	p.do(chromedp.Evaluate[chromedp.Void](`location.hash = ` + strconv.Quote(hash+separator+"lang="+lang+"&theme="+theme)))
	condition := `document.documentElement.dataset.page === 'overview' && document.querySelectorAll('.entry').length > 0`
	if strings.Contains(hash, "s=") {
		condition = `document.documentElement.dataset.page !== 'overview' && document.documentElement.dataset.page !== undefined && document.querySelector('.plot.sequence canvas') !== null && document.querySelectorAll('.ladder .arrow').length > 0`
	}
	if strings.Contains(hash, "with=") {
		condition = `document.documentElement.dataset.beside === '1' && document.querySelectorAll('.strips .plot canvas').length > 0`
	}
	if strings.Contains(hash, "p=") {
		condition += ` && document.getElementById('packet') !== null`
	}
	p.await(condition + ` && document.documentElement.lang.startsWith('` + lang + `')`)
}

// pages are all kinds of pages, with their views.
func pages(t testing.TB) []struct {
	file  string
	views []string
} {
	return []struct {
		file  string
		views []string
	}{{write(t, reporttest.Report(t, records, names...)), views()}, {sweepPage(t), []string{"#"}}}
}

func TestNothingIsTooWide(t *testing.T) {
	for _, page := range pages(t) {
		p := open(t, page.file, "")
		for _, width := range []int64{375, 800, 1440} {
			p.do(chromedp.EmulateViewport(width, 900))
			for _, hash := range page.views {
				for _, lang := range []string{"en", "zh"} {
					p.view(hash, lang, "light")
					if wide := js[int64](p, `document.documentElement.scrollWidth`); wide > width {
						t.Errorf("%s in %s is %d wide, on a screen of %d", hash, lang, wide, width)
					}
				}
			}
		}
	}
}

// npm is a file of a package from the registry.
func npm(t *testing.T, name, file string) string {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skipf("needs npm, to get %s", name)
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	command := exec.CommandContext(ctx, "npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", dir, name)
	if output, err := command.CombinedOutput(); err != nil {
		t.Skipf("needs %s from npm's registry: %v: %s", name, err, output)
	}
	return filepath.Join(dir, "node_modules", file)
}

// axe-core finds nothing serious in any view, theme and language.
func TestAccessibility(t *testing.T) {
	if _, err := chromium(); err != nil {
		t.Skip("needs chromium")
	}
	axe, err := os.ReadFile(npm(t, "axe-core@4.10.3", "axe-core/axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages(t) {
		for _, look := range [][2]string{{"en", "light"}, {"zh", "dark"}} { // each in a tab of its own, which has its own time
			p := open(t, page.file, "")
			p.do(chromedp.Evaluate[chromedp.Void](string(axe)))
			p.accessible(page.views, look)
		}
	}
}

// accessible has the judge, which the page has loaded, look at views.
func (p *tab) accessible(views []string, look [2]string) {
	for _, hash := range views {
		p.view(hash, look[0], look[1])
		found, err := chromedp.Run(p.ctx, chromedp.Evaluate[[]string](`axe.run(document, {resultTypes: ['violations']}).then((r) => r.violations.filter((v) => v.impact === 'serious' || v.impact === 'critical')
			.map((v) => v.id + ': ' + v.help + ': ' + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200) + ' ' + n.failureSummary).join(' | ')))`, chromedp.EvalAwaitPromise))
		if err != nil {
			p.Fatal(err)
		}
		for _, violation := range found {
			p.Errorf("%s in %s, %s: %s", hash, look[0], look[1], violation)
		}
	}
}

// The scripts' types are right, as their comments say them.
func TestTypes(t *testing.T) {
	tsc := npm(t, "typescript@5.9.3", "typescript/bin/tsc")
	command := exec.Command("node", tsc, "--project", "../testdata/tsconfig.json")
	if output, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

// What a record or a capture says is text: none of it runs, and nothing complains.
func TestHostileTextDoesNotRun(t *testing.T) {
	p := open(t, write(t, reporttest.Hostile(t)), "")
	visit := func() {
		for _, hash := range []string{"#", "#s=0", "#s=0&p=3", "#s=0&p=3&lang=zh", "#s=0&q=" + url.QueryEscape(reporttest.Attack) + "&suite=" + url.QueryEscape(reporttest.Attack), "#s=-1", "#s=9&p=x&z=a-b&c=9&v=9&d=9"} {
			p.do(chromedp.Evaluate[chromedp.Void](`location.hash = `+strconv.Quote(hash)), chromedp.Sleep(300*time.Millisecond))
			p.do(chromedp.Evaluate[chromedp.Void](`document.querySelectorAll('details').forEach((d) => { d.open = true; })`), chromedp.Sleep(100*time.Millisecond))
			if js[bool](p, `'hacked' in window`) {
				t.Fatalf("at %s a script of the record has run", hash)
			}
			if n := js[int](p, `document.querySelectorAll('#app script, #app img, #app iframe, #app object').length`); n > 0 {
				t.Errorf("at %s there are %d elements that nobody made", hash, n)
			}
		}
	}
	visit()
	if !js[bool](p, `(location.hash = '#s=0', document.documentElement.textContent.includes('hacked'))`) {
		t.Error("the attack is not in the page at all")
	}

	file := filepath.Join(t.TempDir(), "x<img src=x onerror=hacked=1>.pcapng")
	if err := os.WriteFile(file, reporttest.Capture(t), 0o644); err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	if err := htmlreport.WriteCapture(&page, []string{file}, htmlreport.Options{}); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "capture.html")
	if err := os.WriteFile(out, page.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	p = open(t, out, "")
	visit()

	attack, err := json.Marshal(reporttest.Attack)
	if err != nil {
		t.Fatal(err)
	}
	document := fmt.Appendf(nil, `{"kernel": %s, "seeds": [1, 2], "failed": [%[1]s], "points": [{"name": %[1]s, %[1]s: 1, "queue": %[1]s, "figures": {%[1]s: {"values": [1, 2], "unit": %[1]s, "median": 1, "low": 1, "high": 2}}},
		{"name": "x", %[1]s: 2, "queue": "y", "figures": {%[1]s: {"values": [1, 2], "unit": %[1]s, "median": 1, "low": 1, "high": 2}}}]}`, attack)
	page.Reset()
	if err := htmlreport.WriteSweep(&page, document, reporttest.Hostile(t), htmlreport.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(out, page.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	p = open(t, out, "")
	p.await(`document.querySelectorAll('.sweep-section .point').length > 0 && document.body.textContent.includes('hacked')`)
	visit()
}

// What failed comes first, and leads to the scenario that failed.
func TestFailedFirst(t *testing.T) {
	report := reporttest.Report(t, records, names...)
	report.Records[1].Verdict = results.Failed
	p := open(t, write(t, report), "#lang=en")
	if first := js[string](p, `document.querySelector('.entry').textContent`); !strings.Contains(first, report.Records[1].Scenario) {
		t.Errorf("the first is %q", first)
	}
	p.do(chromedp.Click(".entry a"))
	p.await(`document.documentElement.dataset.page === '1'`)
	if text := js[string](p, `document.querySelector('main').textContent`); !strings.Contains(text, "client/eth0 → server/eth0373430 (0 %)10.01 ms") {
		t.Error("what the links came to is not there: of 37 packets 34 arrived, 3 were dropped, after 10.01 ms or more")
	}
}

// A page that has no room for any packets has all else, and says what it has left out.
func TestWithoutRoom(t *testing.T) {
	report := reporttest.Report(t, records, names...)
	p := open(t, writeSize(t, report, 1), "#s=0&lang=en")
	p.await(`document.documentElement.dataset.page === '0'`)
	for _, text := range []string{"packets are left out", "tcp_schedule_loss_probe", "TcpExtTCPLossProbes"} {
		if !js[bool](p, `document.querySelector('main').textContent.includes(`+strconv.Quote(text)+`)`) {
			t.Errorf("the page does not say %q", text)
		}
	}
	if n := js[int](p, `document.querySelectorAll('.plot.sequence, .ladder').length`); n > 0 {
		t.Errorf("%d pictures of nothing are drawn", n)
	}
}

// A page of five hundred scenarios is as large as a mail may be, and opens at once. How fast is a figure, not a claim: machines differ.
func TestCatalogue(t *testing.T) {
	report := reporttest.Report(t, records, names...)
	for i := range 500 {
		one := *report.Records[i%len(names)]
		one.Scenario = fmt.Sprintf("%s (%d)", one.Scenario, i)
		report.Records = append(report.Records, &one)
	}
	file := write(t, report)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 5_000_000 {
		t.Errorf("the page has %d bytes", info.Size())
	}
	p := open(t, file, "")
	t.Logf("%d scenarios in %.1f MB are shown %.0f ms after the page was asked for", len(report.Records), float64(info.Size())/1e6,
		js[float64](p, `performance.getEntriesByType('paint').concat(performance.getEntriesByType('navigation').map((e) => ({startTime: e.loadEventEnd}))).reduce((m, e) => Math.max(m, e.startTime), 0)`))
	if n := js[int](p, `document.querySelectorAll('script[id^=drawing]').length`); n != len(report.Records) {
		t.Errorf("%d of %d scenarios have packets or points", n, len(report.Records))
	}
	start := time.Now()
	p.shows("#s=0")
	t.Logf("a scenario is drawn %v after it was chosen", time.Since(start).Round(time.Millisecond))
}

// TestScreenshots leaves pictures of a run for people to look at, where TCPLAB_SCREENSHOTS says; of TCPLAB_RUN, if it is set.
func TestScreenshots(t *testing.T) {
	dir := os.Getenv("TCPLAB_SCREENSHOTS")
	if dir == "" {
		t.Skip("makes pictures where TCPLAB_SCREENSHOTS says")
	}
	report := reporttest.Report(t, records, names...)
	if path := os.Getenv("TCPLAB_RUN"); path != "" {
		run, err := results.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if report, err = run.Report(); err != nil {
			t.Fatal(err)
		}
	}
	p := open(t, write(t, report), "")
	for _, width := range []int64{1440, 375} {
		p.do(chromedp.EmulateViewport(width, 900))
		for i, hash := range slices.Concat(views()[:2], views()[len(views())-2:]) {
			for _, look := range [][2]string{{"en", "light"}, {"zh", "dark"}} {
				p.view(hash, look[0], look[1])
				p.do(chromedp.Sleep(300 * time.Millisecond))
				png, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
				if err != nil {
					t.Fatal(err)
				}
				name := fmt.Sprintf("%d-%d-%s-%s.png", width, i, look[0], look[1])
				if err := os.WriteFile(filepath.Join(dir, name), png, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
