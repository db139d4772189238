package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/sweep"
	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/results"
)

// The texts of others are as hostile as they can be: escape, CSI, OSC, C1 in UTF-8 and as bytes, what changes the direction
// of text, ends of lines in all ways with a line of ours behind them, backspace, NUL, and what is no UTF-8.
const (
	hostileText = "h\x1b[2J\x1b]0;title\a\x1b[8m\u009b31m\u202e\u2066\u200f\r1\n2\r\n" + forged + "\n\x08\x7f3|`<b>[x](y)\\"
	hostile     = hostileText + "\x00\x9b31m\xff\xed\xa0\x80"
	// hostileFile can be the name of a file.
	hostileFile = "f\x1b[2J\u009b31m\u202e\r\n" + forged + "\n\x08\xff"
	forged      = "FORGED: 1 passed, 0 failed"
)

// expectHarmless looks for what could give a terminal orders, and for a line that pretends to be ours.
func expectHarmless(t *testing.T, name, output string) {
	t.Helper()
	odd := func(c rune) bool {
		return unicode.IsControl(c) && c != '\n' && c != '\t' || unicode.In(c, unicode.Bidi_Control)
	}
	if !utf8.ValidString(output) || strings.ContainsFunc(output, odd) {
		t.Errorf("%s prints %q", name, output)
	}
	if strings.HasPrefix(output, forged) || strings.Contains(output, "\n"+forged) {
		t.Errorf("%s prints the line of somebody else in %q", name, output)
	}
}

// connected runs a command line as main does, but for where it prints.
func connected(args ...string) (stdout, stderr string, err error) {
	var out, errOut bytes.Buffer
	root := newRoot()
	flush := connect(root, &out, &errOut, false)
	root.SetArgs(args)
	err = root.ExecuteContext(context.Background())
	flush()
	return out.String(), errOut.String(), err
}

func hostileRecord(value float64) *results.Record {
	lower, upper := 2*value, 3*value
	bounds := &results.Bounds{Lower: &lower, Upper: &upper, Source: hostile}
	return &results.Record{
		Suite: "s" + hostileText, Scenario: "t" + hostileText, Labels: []string{hostileText}, Verdict: results.Failed, Clock: results.ClockVirtual,
		Failure: &results.Failure{Message: hostileText, Location: hostileText}, Kernel: results.Uname{Release: fmt.Sprintf("6.%.0f%s", value, hostileText)},
		Metrics: []results.Metric{{Name: "n" + hostileText, Value: value, Unit: hostileText, Bounds: bounds}},
	}
}

// hostileGrid is a file for sweep -f.
func hostileGrid(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "grid.yaml")
	content := fmt.Sprintf("cc: cubic\n%q: 1\nrate: %q\n", hostileText, hostileText)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// hostileSweep is what sweep --json prints, of the shard 1/1.
func hostileSweep(t *testing.T, value float64) string {
	t.Helper()
	figure := sweep.Figure{Values: []float64{value}, Unit: hostileText, Median: value, Low: value, High: value}
	return resultFile(t, sweep.Result{
		Kernel: hostileText, Seeds: []uint64{1}, Grid: hostileText, Shard: &sweep.Shard{Number: 1, Of: 1}, Failed: []string{hostileText},
		Points: []sweep.Point{{
			Cell: cell.Cell{
				Rate: 1e6, RTT: time.Second, Duration: time.Second, Flows: []cell.Flow{{Congestion: "cubic"}}, Sysctls: map[string]string{"net." + hostileText: hostileText},
			},
			Name: hostileText, Figures: map[string]sweep.Figure{hostileText: figure, "x: goodput" + hostileText: figure},
		}},
	})
}

// resultFile is a file with a result, as --json prints it.
func resultFile(t *testing.T, r sweep.Result) string {
	t.Helper()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "sweep.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// hostileRun is a run of one scenario.
func hostileRun(t *testing.T, id string, value float64) *results.Run {
	t.Helper()
	run, err := results.Create(t.TempDir(), id)
	if err != nil {
		t.Fatal(err)
	}
	r := hostileRecord(value)
	if err := r.Write(run.Dir(r.Suite, r.Scenario)); err != nil { // a file beside it cannot be called like that
		t.Fatal(err)
	}
	return run
}

// hostileCapture is a file of a hostile name with an interface of a hostile name, which has dropped packets.
func hostileCapture(t *testing.T) string {
	t.Helper()
	var file bytes.Buffer
	w, err := pcapgo.NewNgWriterInterface(&file, pcapgo.NgInterface{
		Name: hostile, Comment: hostile, Description: hostile, LinkType: layers.LinkTypeEthernet, TimestampResolution: 9,
	}, pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Comment: hostile, Application: hostile}})
	if err != nil {
		t.Fatal(err)
	}
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: []byte{192, 0, 2, 1}, DstIP: []byte{192, 0, 2, 2}}
	tcp := &layers.TCP{SrcPort: 1, DstPort: 2, SYN: true}
	packet := gopacket.NewSerializeBuffer()
	err = errors.Join(tcp.SetNetworkLayerForChecksum(ip), gopacket.SerializeLayers(packet, options,
		&layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}, ip, tcp))
	data := packet.Bytes()
	info := gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: len(data), Length: len(data)}
	err = errors.Join(err, w.WritePacketWithOptions(info, data, pcapgo.NgPacketOptions{Comments: []string{hostile}}),
		w.WriteInterfaceStats(0, pcapgo.NgInterfaceStatistics{PacketsReceived: 9, PacketsDropped: 8}), w.Flush())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), hostileFile)
	if err := os.WriteFile(path, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestNothingHostileIsPrinted pushes hostile texts through each command: as what it is asked for, and as what it finds.
func TestNothingHostileIsPrinted(t *testing.T) {
	t.Chdir(t.TempDir())
	capture := hostileCapture(t)
	a, b := hostileRun(t, "a", 1), hostileRun(t, "b", 9)
	dangling := filepath.Join(t.TempDir(), hostileFile)
	settings := filepath.Join(t.TempDir(), "settings")
	if err := os.WriteFile(settings, []byte("net.ipv4.tcp_fin_timeout = "+strings.ReplaceAll(hostileText, "\n", " ")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sweep := filepath.Join(t.TempDir(), hostileFile)
	quoted, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sweep, fmt.Appendf(nil, `{"kernel": %s, "points": [{"name": %[1]s, %[1]s: %[1]s, "figures": {%[1]s: {"values": [1], "unit": %[1]s}}}]}`, quoted), 0o600); err != nil {
		t.Fatal(err)
	}
	path := []string{"--rate", "1mbit", "--rtt", "1ms", "--kernel", "6.1"}
	cases := map[string][][]string{
		"run": {{"--clock", hostile}, {"--junit", dangling + "/x"}, {"--report", hostile}, {"--report", "json=" + dangling + "/x"}, {"--kernel", hostile + ","}},
		"report": {{a.Path(), b.Path()}, {"--format", hostile}, {dangling}, {"--matrix", hostile}, {"--matrix", "(" + hostile},
			{a.Path(), "--matrix", "(?s)(?P<row>t)(?P<column>.*)"}, {a.Path(), b.Path(), "--format", "html"}, {a.Path(), "--format", "html", "-o", "-"},
			{capture}, {capture, "--format", "json"}, {a.Path(), "--format", "html", "-o", dangling + "/x"}, {sweep, a.Path(), "-o", "x.html"}, {sweep + ".none"}},
		"show":   {{a.Path(), "."}, {a.Path(), hostile}, {a.Path(), "(" + hostile}, {dangling, "x"}, {capture}, {capture, "--connection", "9"}, {hostile}},
		"plot":   {{a.Path(), ".", "-o", "x.svg"}, {a.Path(), hostile, "-o", "x.svg"}, {capture, "-o", hostile}, {capture, "-o", "x.pdf"}, {capture, "--what", hostile, "-o", "x.svg"}, {capture, "-o", dangling + "/x.svg"}},
		"decode": {{capture, "--frame", "1"}, {capture, "--frame", "9"}, {dangling, "--frame", "1"}, {capture, "--frame", "1", "--json"}},
		"probe":  {{hostile}, {hostile + ":1", "-n", "1"}, {"127.0.0.1:" + hostile}, {"127.0.0.1:1", "--send", hostile}, {"127.0.0.1:1", "--http", hostile}},
		"watch":  {{"--filter", hostile, "-n", "1"}, {"--state", hostile}, {"--sort", hostile}, {"--namespace", hostile}, {"-n", "1", "--json"}},
		"diagnose": {{hostile}, {hostile + ":1"}, {"127.0.0.1:" + hostile}, {"127.0.0.1:1", "--send", hostile}, {"127.0.0.1:1", "--http", hostile},
			{"127.0.0.1:1", "--upload", hostile}},
		"tune": {{"--rate", hostile, "--rtt", "1ms"}, append(path, "--from", settings), append(path, "--from", dangling), append(path, "--loss", hostile),
			append(path, "--format", hostile)},
		"list": {{"--focus", "(" + hostile}, {"--label", "(" + hostile}},
		"analyze": {{capture}, {"--findings", capture}, {"--json", capture}, {dangling}, {"--stream", "7", capture}, {"--interface", hostile}, {"--interface", "lo", "--filter", hostile},
			{"--series", "csv", capture}, {"--series", "json", capture}, {"--series", hostile, capture}, {"--ladder", "--plot", capture}},
		"compare": {{a.Path(), b.Path()}, {"--bytes", a.Path(), b.Path()}, {"--behaviour", "--all", a.Path(), b.Path()}, {"--markdown", a.Path(), b.Path()}, {dangling, dangling},
			{hostileSweep(t, 1), hostileSweep(t, 2), "--all"}},
		"seeds": {{"--seeds", hostile}},
		"sweep": {{"--cc", hostile, "--rate", "1mbit", "--rtt", "1ms"}, {"--cc", "cubic", "--rate", hostile, "--rtt", "1ms"},
			{"--cc", "cubic", "--rate", "1mbit", "--rtt", hostile}, {"--cc", "cubic", "--rate", "1mbit", "--rtt", "1ms", "--loss", hostile},
			{"--cc", "cubic", "--rate", "1mbit", "--rtt", "1ms", "--sysctl", hostile}, {"--cc", "cubic", "--rate", "1mbit", "--rtt", "1ms", "--buffer", hostile},
			{"--cc", "cubic", "--rate", "1mbit", "--rtt", "1ms", "--queue", hostile}, {"--cc", "cubic:" + hostile, "--rate", "1mbit", "--rtt", "1ms"},
			{"--cc", "cubic", "--rate", "1mbit", "--rtt", "1ms", "--shard", hostile}, {"--cc", "cubic", "--rate", "1mbit", "--rtt", "1ms,2ms", "-o", hostile}, {"-f", dangling}, {"-f", hostileGrid(t)}},
		"merge": {{dangling}, {hostileSweep(t, 1)}, {hostileSweep(t, 1), hostileSweep(t, 2), "--json"}, {hostileSweep(t, 1), "-o", hostile}, {hostileSweep(t, 1), "-o", "x.svg"}},
		"papers": {{hostile}, {"ware", "--seeds", hostile}, {"ware", "-o", hostile}, {"ware", "-o", dangling + "/x.svg"}, {"ware", "--from", dangling},
			{"ware", "--from", hostileSweep(t, 1)}, {"-o", hostile}},
		"reproducible": {{"--" + hostile}},
		"oracle":       {{"--kernel", hostile}, {"--sysctl", hostile + "=" + hostile}},
		"profiles":     {{hostile}},
		"kernels":      {{"fetch", hostile}, {hostile}},
		"doctor":       {{hostile}},
		"setup":        {{hostile}},
		"peer":         {{hostile}, {"dial", hostile}},
	}
	for _, command := range newRoot().Commands() {
		if len(cases[command.Name()]) == 0 && command.Name() != "help" && command.Name() != "completion" {
			t.Errorf("no case of %s", command.Name())
		}
	}
	for _, format := range results.Formats() {
		if format != "junit" { // in which messages have lines of their own: TestHostileReports
			cases["report"] = append(cases["report"], []string{"--format", format, a.Path(), b.Path()})
		}
	}
	cases[hostile] = [][]string{{}}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		for _, args := range cases[name] {
			stdout, stderr, err := connected(append([]string{name}, args...)...)
			expectHarmless(t, name, stdout)
			expectHarmless(t, name, stderr)
			if err == nil && stdout == "" {
				t.Errorf("%s %q prints nothing", name, args)
			}
			if err != nil { // as main does
				var errOut bytes.Buffer
				root := newRoot()
				flush := connect(root, io.Discard, &errOut, false)
				complain(root, err)
				flush()
				expectHarmless(t, name+"'s error", strings.ReplaceAll(errOut.String(), "\n"+forged, "")) // an error can have lines
			}
		}
	}
}

// TestNothingHostileOfARunIsPrinted: what needs guests, or another machine, is called with what would have come of them.
func TestNothingHostileOfARunIsPrinted(t *testing.T) {
	run := hostileRun(t, "c", 3)
	records, err := run.Records()
	if err != nil || len(records) != 1 {
		t.Fatal(records, err)
	}
	skipped := hostileRecord(1)
	skipped.Verdict, skipped.Failure, skipped.Reason = results.Skipped, nil, hostile
	records = append(records, skipped)
	differences, err := results.Compare(run, hostileRun(t, "d", 4))
	if err != nil {
		t.Fatal(err)
	}
	suites := []*runner.Suite{
		{Name: hostile, Path: hostile},
		{Name: hostile, Path: hostile, Ginkgo: true, Specs: []runner.Spec{{Text: hostile, Labels: []string{hostile}, Selected: true}, {Text: hostile, Pending: true}}},
	}
	stored := []vm.Stored{{Name: hostile, Release: hostile, Source: hostile, Links: map[string]time.Time{hostile: {}}}}
	offers := []vm.Offer{{Release: hostile, Version: hostile, Suite: hostile}}
	for name, print := range map[string]func(io.Writer) error{
		"run's table": func(w io.Writer) error { return printRun(w, runner.Summary{Run: run, Records: records}) },
		"seeds' table": func(w io.Writer) error {
			return manySeeds{margin: 0.02}.report(results.Report{Records: records, Focused: []string{hostile}}, w)
		},
		"reproducible":   func(w io.Writer) error { verdictOn(w, hostileFile, differences); return nil },
		"list":           func(w io.Writer) error { printSuites(w, suites); return nil },
		"kernels here":   func(w io.Writer) error { return printStored(w, hostileFile, stored) },
		"kernels' names": func(w io.Writer) error { return printOffers(w, offers, stored) },
		"doctor": func(w io.Writer) error {
			printChecks(w, "title", []check{checkOf("name", "", errors.New(hostile)), checkOf("name", hostile, nil)})
			return nil
		},
	} {
		var out bytes.Buffer
		root := newRoot()
		flush := connect(root, &out, io.Discard, false)
		if err := print(root.OutOrStdout()); err != nil && !errors.Is(err, errFailed) {
			t.Errorf("%s: %v", name, err)
		}
		flush()
		if out.Len() == 0 {
			t.Errorf("%s prints nothing", name)
		}
		text := out.String()
		if strings.HasPrefix(name, "kernels") || name == "doctor" || name == "reproducible" {
			text = strings.ReplaceAll(text, "\n"+forged, "") // a cache, an archive and a program tell no verdicts
		}
		expectHarmless(t, name, text)
	}
}

// TestColoursAreTablesOnly: a terminal gets the colours of tables, and no others.
func TestColoursAreTablesOnly(t *testing.T) {
	g := NewWithT(t)
	var out bytes.Buffer
	root := newRoot()
	flush := connect(root, &out, io.Discard, true)
	g.Expect(results.Table(results.TableOptions{Colour: true})(root.OutOrStdout(), results.Report{Records: []*results.Record{hostileRecord(1)}})).To(Succeed())
	flush()
	g.Expect(out.String()).To(ContainSubstring("\x1b[31mFAILED\x1b[0m"))
	plain := out.String()
	for _, colour := range []string{"\x1b[0m", "\x1b[1m", "\x1b[31m"} {
		plain = strings.ReplaceAll(plain, colour, "")
	}
	expectHarmless(t, "a table", plain)
}

// TestHostileReports: what programs read has all of the text, in their own escapes.
func TestHostileReports(t *testing.T) {
	g := NewWithT(t)
	stdout, _, err := connected("analyze", "--json", hostileCapture(t))
	g.Expect(err).NotTo(HaveOccurred())
	var document analysis.Document
	g.Expect(json.Unmarshal([]byte(stdout), &document)).To(Succeed())
	g.Expect(document.Files[0].Interfaces[0].Name).To(Equal(strings.ToValidUTF8(hostile, "\ufffd")))

	path := filepath.Join(t.TempDir(), "junit.xml")
	files, err := reportFiles(path, nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(writeReports(files, results.Report{Records: []*results.Record{hostileRecord(1)}}, io.Discard)).To(Succeed())
	report, err := os.ReadFile(path)
	g.Expect(err).NotTo(HaveOccurred())
	expectHarmless(t, "JUnit's report", strings.ReplaceAll(string(report), "\n"+forged, "")) // in the text of a failure
	decoder := xml.NewDecoder(bytes.NewReader(report))
	for err == nil {
		_, err = decoder.Token()
	}
	g.Expect(err).To(MatchError(io.EOF))

	stdout, _, err = connected("compare", "--markdown", hostileRun(t, "a", 1).Path(), hostileRun(t, "b", 9).Path())
	g.Expect(err).NotTo(HaveOccurred())
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	g.Expect(len(lines)).To(BeNumerically(">", 2))
	for _, line := range lines {
		cells := strings.ReplaceAll(strings.ReplaceAll(line, `\\`, ""), `\|`, "")
		g.Expect(strings.Count(cells, "|")).To(Equal(strings.Count(lines[1], "|")), "as many cells as columns: %s", line)
		g.Expect(line).NotTo(ContainSubstring("<b>"))
	}
}
