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
	"slices"
	"strings"
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
	Run    string `json:"run,omitempty"` // where nothing else tells it apart
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
	var sources sources
	var parts []*part
	for i, r := range report.Records {
		origin := slices.Index(origins, r.Origin())
		if origin < 0 {
			origin, origins = len(origins), append(origins, r.Origin())
		}
		e := entryOf(r, origin, i)
		e.Command = again(r)
		entries = append(entries, e)
		known, err := shown(r)
		if err != nil {
			return err
		}
		if err := errors.Join(known.put("source", sources.add(m.source(r))), known.put("folder", r.Dir())); err != nil {
			return err
		}
		parts = append(parts, &part{
			name: r.Suite + "\x00" + r.Scenario, known: known, load: func() *picture.Picture { return picture.OfScenario(r) }, files: capturePaths(r),
		})
	}
	overview := map[string]any{"kind": "run", "entries": present(entries), "origins": summaries(origins), "missing": report.Missing}
	if len(report.Focused) > 0 {
		overview["focused"] = report.Focused
	}
	maps.Copy(overview, more)
	return writePage(w, title, overview, sources, parts, cmp.Or(o.Size, DefaultSize))
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
		known := members{}
		if err := known.put("folder", filepath.Dir(file)); err != nil {
			return err
		}
		parts = append(parts, &part{known: known, load: func() *picture.Picture { return p }, files: []string{file}})
	}
	return writePage(w, "tcplab: "+text.Printable(strings.Join(files, ", ")), map[string]any{"kind": "captures", "entries": entries, "origins": []originSummary{}},
		nil, parts, cmp.Or(o.Size, DefaultSize))
}

// A file is what the page says of an artefact.
type file struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
}

// shown are the members of a record, as record.NAME, without what the page has elsewhere or does not show, so that there is room for packets: what is the same of all of
// a run, who shared the guest, and hashes, which nothing makes smaller. record.json has all of it.
func shown(r *results.Record) (members, error) {
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
	known := members{}
	for name, value := range record {
		known[recordMember+name] = exact(value)
	}
	return known, nil
}

// recordMember is what the names of a record's members begin with: codec.js knows it, too.
const recordMember = "record."

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
		all[i] = originSummary{o.Kernel, o.Clock, fmt.Sprint(o.Seed), o.IPv6, o.Run}
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
		if c := &r.Checks[i]; c.Bounds != nil && (e.Worst == nil || c.NearerThan(*e.Worst)) {
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

// names are Wireshark's names of marks, by their bits, and those of causes, timers and the columns of packets.
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
	return map[string]any{"marks": marks, "causes": causes, "timers": timers, "columns": packetColumns}
}

// writePage writes the page.
func writePage(w io.Writer, title string, overview map[string]any, sources sources, parts []*part, size int) error {
	// Of many scenarios few need much more than their share: what certainly does not fit is not packed to be thrown away.
	const bytesEach, decodedEach, times = 12, 40, 4
	share := size / max(1, len(parts))
	for _, p := range parts {
		p.most = detail{min(most.packets, times*share/bytesEach), min(most.decoded, times*share/decodedEach)}
	}
	if err := each(parts, (*part).prepare); err != nil {
		return err
	}
	bundles, places, err := bundle(parts)
	if err != nil {
		return err
	}
	overview["names"], overview["places"] = names(), present(places)
	first, err := compressJSON(overview)
	if err != nil {
		return err
	}
	specs, err := compressJSON(present(sources))
	if err != nil {
		return err
	}
	style := read("uPlot.min.css") + read("report.css")
	script := program()
	licence := strings.ReplaceAll(read("uPlot.LICENSE"), "--", "- -")
	blocks := dataBlock("overview", first) + dataBlock("sources", specs)
	for i, b := range bundles {
		blocks += dataBlock(fmt.Sprint("bundle", i), b)
	}
	const around = 2048 // what page.html has around all that
	rest := size - len(blocks) - len(style) - len(script) - len(licence) - len(title) - around
	for _, p := range parts {
		if p.encoded != "" {
			rest -= len(dataBlock("drawing00000", ""))
		}
	}
	if err := pack(parts, max(0, rest)); err != nil {
		return err
	}
	var drawings strings.Builder
	for i, p := range parts {
		if p.encoded != "" {
			drawings.WriteString(dataBlock(fmt.Sprint("drawing", i), p.encoded))
		}
	}
	policy := fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; base-uri 'none'; form-action 'none'; img-src data:", hash(script), hash(style))
	// Text of others is in blocks of base64, which have nothing that HTML could take for anything else, and in the title. So package
	// html/template is not needed: it makes tcplab, which each guest unpacks, a quarter larger, since with it no method is left out.
	_, err = strings.NewReplacer(
		"{{title}}", html.EscapeString(title), "{{policy}}", html.EscapeString(policy), "{{style}}", style, "{{script}}", script,
		"{{licence}}", licence, "{{blocks}}", blocks+drawings.String(),
	).WriteString(w, read("page.html"))
	return err
}

// dataBlock is a block as the page has it.
func dataBlock(id, encoded string) string {
	return `<script type="application/x-tcplab-block" id="` + id + `">` + encoded + "</script>\n"
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
