package htmlreport

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/internal/picture"
	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/results"
)

//go:embed assets/*.js assets/*.css assets/*.html assets/uPlot.LICENSE
var assets embed.FS

// scripts are what the page runs, in this order: later ones use what earlier ones declare.
var scripts = []string{
	"codec.js", "words.js", "findings.js", "state.js", "dom.js", "figures.js", "overview.js", "sweep.js", "sequence.js", "plots.js", "ladder.js", "packet.js", "scenario.js", "compare.js", "main.js",
}

// DefaultSize is how many bytes a page has at most, unless its scenarios need more without their packets.
const DefaultSize = 5_000_000

// Options are what a page is to be like. Its zero value is one for a mail.
type Options struct {
	// Size is how many bytes the page has at most: where packets do not fit, those far from any event are left out. 0 is DefaultSize.
	Size int
	// Module is a folder of the Go module whose sources are shown beside what they saw; "." if it is empty.
	Module string
}

// The most that is drawn of one scenario, however few there are.
var most = detail{packets: 100_000, decoded: 4_000}

// A part is a scenario, or a capture, that is to be packed.
type part struct {
	content map[string]any // but for what is drawn
	load    func() *picture.Picture
	files   []string // of its captures

	picture *picture.Picture // once it was loaded, with as many packets as there may be at first
	packets int              // it has in truth
	decoded int              // packets whose fields are in it
	detail  detail
	encoded string
}

// encode packs a part.
func (p *part) encode() error {
	if p.picture == nil {
		whole := p.load()
		p.load = nil // it may hold all packets
		p.packets = len(whole.Packets)
		p.picture = whole.Reduce(p.detail.packets)
		p.decoded = min(p.detail.decoded, len(p.picture.Packets))
	}
	encoded, err := p.encodeAt(p.detail)
	p.encoded = encoded
	return err
}

func (p *part) encodeAt(d detail) (string, error) {
	b, content := drawing(p.picture, p.files, d)
	content["packets_total"] = p.packets
	for name, value := range p.content {
		content[name] = value
	}
	return b.encode(content)
}

// shrink lets the part have no more than so many bytes, as far as its packets are what makes it large.
func (p *part) shrink(size int) error {
	least, err := p.encodeAt(detail{})
	if err != nil {
		return err
	}
	for range 4 {
		if len(p.encoded) <= size || p.detail == (detail{}) {
			return nil
		}
		// A twentieth less than what is in proportion, for it not to take many rounds.
		factor := 0.95 * float64(max(0, size-len(least))) / float64(max(1, len(p.encoded)-len(least)))
		p.detail = detail{int(float64(min(p.detail.packets, len(p.picture.Packets))) * factor), int(float64(min(p.detail.decoded, p.decoded)) * factor)}
		if err := p.encode(); err != nil {
			return err
		}
	}
	if len(p.encoded) > size {
		p.detail, p.encoded = detail{}, least
	}
	return nil
}

// An entry is a line of the overview.
type entry struct {
	Suite    string           `json:"suite"`
	Scenario string           `json:"scenario"`
	Labels   []string         `json:"labels,omitempty"`
	Verdict  string           `json:"verdict"`
	Failure  string           `json:"failure,omitempty"` // or why it was skipped
	Origin   int              `json:"origin"`
	Duration time.Duration    `json:"duration_ns"`
	Wall     time.Duration    `json:"wall_ns,omitempty"`
	Cached   bool             `json:"cached,omitempty"`
	Metrics  []results.Metric `json:"metrics,omitempty"`
	Checks   int              `json:"checks,omitempty"`
	Worst    *results.Metric  `json:"worst,omitempty"` // the check that came nearest to an edge
	Command  string           `json:"command"`
	Block    int              `json:"block"`
}

type originSummary struct {
	Kernel string `json:"kernel"`
	Clock  string `json:"clock"`
	Seed   string `json:"seed"`
	IPv6   bool   `json:"ipv6,omitempty"`
}

// Write writes the page of a report. Evidence that cannot be read is named in its scenario; the error is the writer's, or says that a
// record cannot be written.
func Write(w io.Writer, report results.Report, o Options) error {
	return write(w, "tcplab", report, command, nil, o)
}

// write writes the page of a report, whose overview has more. again is the command that runs a scenario again; "" is none.
func write(w io.Writer, title string, report results.Report, again func(*results.Record) string, more map[string]any, o Options) error {
	m := findModule(cmp.Or(o.Module, "."))
	defer m.Close()
	var entries []entry
	var origins []results.Origin
	var parts []*part
	for i, r := range report.Records {
		origin := slices.Index(origins, r.Origin())
		if origin < 0 {
			origin, origins = len(origins), append(origins, r.Origin())
		}
		e := entryOf(r, origin, i)
		e.Command = again(r)
		entries = append(entries, e)
		record, err := shown(r)
		if err != nil {
			return err
		}
		parts = append(parts, &part{
			content: map[string]any{"record": json.RawMessage(exact(record)), "source": m.source(r), "folder": r.Dir()},
			load:    func() *picture.Picture { return picture.OfScenario(r) },
			files:   capturePaths(r),
		})
	}
	overview := map[string]any{"kind": "run", "entries": present(entries), "origins": summaries(origins), "missing": report.Missing}
	maps.Copy(overview, more)
	return writePage(w, title, overview, parts, cmp.Or(o.Size, DefaultSize))
}

// WriteCapture writes the page of captures that somebody else made. One that cannot be read is an error.
func WriteCapture(w io.Writer, files []string, o Options) error {
	var entries []entry
	var parts []*part
	for i, file := range files {
		p, err := picture.OfCapture(file)
		if err != nil {
			return err
		}
		entries = append(entries, entry{Scenario: filepath.Base(file), Verdict: "", Block: i, Duration: p.End, Command: "tcplab analyze " + quote(file)})
		parts = append(parts, &part{content: map[string]any{"folder": filepath.Dir(file)}, load: func() *picture.Picture { return p }, files: []string{file}})
	}
	return writePage(w, "tcplab: "+text.Printable(strings.Join(files, ", ")), map[string]any{"kind": "captures", "entries": entries, "origins": []originSummary{}},
		parts, cmp.Or(o.Size, DefaultSize))
}

// A file is what the page says of an artefact.
type file struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
}

// shown is a record without what the page has elsewhere or does not show, so that there is room for packets: what is the same of all of
// a run, who shared the guest, and hashes, which nothing makes smaller. record.json has all of it.
func shown(r *results.Record) ([]byte, error) {
	encoded, err := r.Encode()
	if err != nil {
		return nil, err
	}
	var record map[string]json.RawMessage
	if err := json.Unmarshal(encoded, &record); err != nil {
		return nil, err
	}
	for _, elsewhere := range []string{"schema", "together", "kernel", "inputs"} {
		delete(record, elsewhere)
	}
	host := []file{}
	if r.Host != nil {
		host = filesOf(r.Host.Artefacts)
	}
	for name, of := range map[string]any{"artefacts": filesOf(r.Artefacts), "host": map[string]any{"artefacts": host}} {
		if record[name], err = json.Marshal(of); err != nil {
			return nil, err
		}
	}
	return json.Marshal(record)
}

func filesOf(artefacts []results.Artefact) []file {
	all := []file{}
	for _, a := range artefacts {
		all = append(all, file{a.Path, a.Size})
	}
	return all
}

// exact is a document with the whole numbers as text that JavaScript would round: those of more than 15 digits.
func exact(document []byte) []byte {
	const digits = 15
	out := make([]byte, 0, len(document))
	inString := false
	for i := 0; i < len(document); i++ {
		c := document[i]
		switch {
		case inString && c == '\\' && i+1 < len(document):
			out = append(out, c)
			i++
			c = document[i]
		case c == '"':
			inString = !inString
		case !inString && (c == '-' || '0' <= c && c <= '9'):
			end := i + 1
			for end < len(document) && strings.IndexByte("0123456789.eE+-", document[end]) >= 0 {
				end++
			}
			number := document[i:end]
			if long := end-i > digits && !bytes.ContainsAny(number, ".eE"); long {
				number = append(append([]byte{'"'}, number...), '"')
			}
			out = append(out, number...)
			i = end - 1
			continue
		}
		out = append(out, c)
	}
	return out
}

func summaries(origins []results.Origin) []originSummary {
	all := make([]originSummary, len(origins))
	for i, o := range origins {
		all[i] = originSummary{o.Kernel, o.Clock, fmt.Sprint(o.Seed), o.IPv6}
	}
	return all
}

// maxText is how much of a message the overview has.
const maxText = 2000

func entryOf(r *results.Record, origin, block int) entry {
	e := entry{
		Suite: r.Suite, Scenario: r.Scenario, Labels: r.Labels, Verdict: string(r.Verdict), Failure: r.Reason, Origin: origin, Duration: r.Duration,
		Metrics: r.Metrics, Checks: len(r.Checks), Block: block,
	}
	if r.Failure != nil {
		e.Failure, _ = text.Prefix(r.Failure.Message, maxText)
	}
	if r.Host != nil {
		e.Wall, e.Cached = r.Host.Wall, r.Host.Cached
	}
	for i := range r.Checks {
		if c := &r.Checks[i]; c.Bounds != nil && (e.Worst == nil || c.Bounds.Share < e.Worst.Bounds.Share) {
			e.Worst = c
		}
	}
	return e
}

// defaultMIPS is how fast a guest is unless --mips says otherwise: as vm.DefaultMIPS.
const defaultMIPS = 500

// command is what runs a scenario again, for the same bytes. What ran in one guest with others runs with them again, in their order: each
// can build on what those before it have left.
func command(r *results.Record) string {
	together := r.Together
	if len(together) == 0 {
		together = []string{r.Scenario}
	}
	names := make([]string, len(together))
	for i, scenario := range together {
		names[i] = regexp.QuoteMeta(r.Suite + " " + scenario)
	}
	focus := "^" + names[0] + "$"
	if len(names) > 1 {
		focus = "^(" + strings.Join(names, "|") + ")$"
	}
	words := []string{"tcplab", "run", quote(r.Suite), "--focus", quote(focus), "--seed", fmt.Sprint(r.Seed)}
	switch {
	case r.Clock == results.ClockReal:
		words = append(words, "--clock", results.ClockReal)
	case r.Kernel.Release != "":
		words = append(words, "--clock", results.ClockVirtual, "--kernel", quote(r.Kernel.Release))
		if len(names) > 1 {
			words = append(words, "--share", fmt.Sprint(len(names)))
		}
		if r.Inputs.MIPS != 0 && r.Inputs.MIPS != defaultMIPS {
			words = append(words, "--mips", fmt.Sprint(r.Inputs.MIPS))
		}
	}
	if r.IPv6 {
		words = append(words, "--ipv6")
	}
	return strings.Join(words, " ")
}

// quote is a word of a shell's command line.
func quote(word string) string {
	word = text.Printable(word)
	plain := func(c rune) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-_./:=+", c)
	}
	if word != "" && !strings.ContainsFunc(word, func(c rune) bool { return !plain(c) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// pack encodes all parts, for their sizes to have no more than so many bytes together: those that are larger than their share are
// packed again with fewer packets.
func pack(parts []*part, size int) error {
	// Of many scenarios few need much more than their share: what certainly does not fit is not packed to be thrown away.
	const bytesEach, decodedEach, times = 12, 40, 4
	share := size / max(1, len(parts))
	for _, p := range parts {
		p.detail = detail{min(most.packets, times*share/bytesEach), min(most.decoded, times*share/decodedEach)}
	}
	if err := each(parts, (*part).encode); err != nil {
		return err
	}
	// What has no packets left takes its room from the others, which have to become smaller still.
	for {
		room, total := size, 0
		var sizes []int
		var able []*part
		for _, p := range parts {
			total += len(p.encoded)
			if p.detail == (detail{}) {
				room -= len(p.encoded)
				continue
			}
			able, sizes = append(able, p), append(sizes, len(p.encoded))
		}
		if total <= size || len(able) == 0 {
			return nil
		}
		share := picture.Share(sizes, max(0, room))
		large := slices.DeleteFunc(able, func(p *part) bool { return len(p.encoded) <= share })
		if err := each(large, func(p *part) error { return p.shrink(share) }); err != nil {
			return err
		}
	}
}

// each does something with all parts, on all processors.
func each(parts []*part, do func(*part) error) error {
	errs := make([]error, len(parts))
	next := make(chan int)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := range next {
				errs[i] = do(parts[i])
			}
		})
	}
	for i := range parts {
		next <- i
	}
	close(next)
	workers.Wait()
	return errors.Join(errs...)
}

// names are Wireshark's names of marks, by their bits, and those of causes and timers.
func names() map[string]any {
	var marks, causes []string
	for bit := range 16 {
		marks = append(marks, analysis.Mark(1<<bit).String())
	}
	for cause := analysis.CauseSYN; cause <= analysis.CauseUnknown; cause++ {
		causes = append(causes, cause.String())
	}
	var timers []string
	for timer := picture.TimerNone; timer <= picture.TimerKeepAlive; timer++ {
		timers = append(timers, timer.String())
	}
	return map[string]any{"marks": marks, "causes": causes, "timers": timers}
}

// writePage writes the page.
func writePage(w io.Writer, title string, overview map[string]any, parts []*part, size int) error {
	overview["names"] = names()
	var b block
	first, err := b.encode(overview)
	if err != nil {
		return err
	}
	style := read("uPlot.min.css") + read("report.css")
	script := program()
	licence := strings.ReplaceAll(read("uPlot.LICENSE"), "--", "- -")
	const around, aroundEach = 2048, 72 // what page.html has around all that
	rest := size - len(first) - len(style) - len(script) - len(licence) - len(title) - around - aroundEach*len(parts)
	if err := pack(parts, max(0, rest)); err != nil {
		return err
	}
	policy := fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; base-uri 'none'; form-action 'none'; img-src data:", hash(script), hash(style))
	var blocks strings.Builder
	for i, p := range parts {
		fmt.Fprintf(&blocks, "<script type=\"application/x-tcplab-block\" id=\"block%d\">%s</script>\n", i, p.encoded)
	}
	// Text of others is in blocks of base64, which have nothing that HTML could take for anything else, and in the title. So package
	// html/template is not needed: it makes tcplab, which each guest unpacks, a quarter larger, since with it no method is left out.
	_, err = strings.NewReplacer(
		"{{title}}", html.EscapeString(title), "{{policy}}", html.EscapeString(policy), "{{style}}", style, "{{script}}", script,
		"{{licence}}", licence, "{{overview}}", first, "{{blocks}}", blocks.String(),
	).WriteString(w, read("page.html"))
	return err
}

// program is all scripts as one, whose names nobody else sees.
func program() string {
	var b strings.Builder
	b.WriteString("(() => {\n'use strict';\n")
	b.WriteString(read("uPlot.iife.min.js"))
	for _, name := range scripts {
		b.WriteString("\n// " + name + "\n" + read(name))
	}
	b.WriteString("})();\n")
	return b.String()
}

// read is an asset, which is there: it was compiled in.
func read(name string) string {
	content, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic(err)
	}
	return string(content)
}

// hash is how a Content-Security-Policy names a script or a style.
func hash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
