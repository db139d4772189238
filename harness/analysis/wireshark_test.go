package analysis

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
)

// Wireshark is the authority on what its flags mean: the tests in this file and
// in random_test.go ask tshark about the same captures, frame by frame.

// tsharkSeries is Debian 12's: later ones have other rules of precedence.
const tsharkSeries = "TShark (Wireshark) 4.0."

// needTshark skips the test where there is no tshark of that series.
func needTshark(t testing.TB) {
	t.Helper()
	version, err := exec.Command("tshark", "--version").Output()
	if err == nil && strings.HasPrefix(string(version), tsharkSeries) {
		return
	}
	const reason = "needs tshark 4.0 (on Debian 12: apt-get install tshark)"
	if os.Getenv("TCPLAB_REQUIRE_TSHARK") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// tsharkFields are what is compared besides the marks, in the order of the columns.
var tsharkFields = []string{
	"frame.number", "tcp.stream", "tcp.seq", "tcp.ack", "tcp.flags.ack", "tcp.len", "tcp.window_size", "tcp.completeness",
	"tcp.analysis.duplicate_ack_num", "tcp.analysis.duplicate_ack_frame", "tcp.analysis.acks_frame", "tcp.analysis.ack_rtt",
	"tcp.analysis.initial_rtt", "tcp.analysis.rto", "tcp.analysis.rto_frame", "tcp.analysis.bytes_in_flight", "tcp.analysis.push_bytes_sent",
}

// frame is what a judge says of a frame, by names of fields. What is empty is left
// out.
type frame map[string]string

// tsharkCommand runs tshark with its default preferences, on TCP segments only.
func tsharkCommand(t testing.TB, file string) *exec.Cmd {
	t.Helper()
	args := []string{"-r", file, "-n", "-T", "fields", "-E", "occurrence=f", "-Y", "tcp && !icmp && !icmpv6"}
	for _, f := range tsharkFields {
		args = append(args, "-e", f)
	}
	for _, name := range markNames {
		args = append(args, "-e", "tcp.analysis."+name)
	}
	cmd := exec.Command("tshark", args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "XDG_CONFIG_HOME=")
	return cmd
}

func tshark(t testing.TB, file string) map[int]frame {
	t.Helper()
	frames, complaint := tsharkOf(t, file)
	if complaint != "" {
		t.Fatalf("tshark, of %s: %s", file, complaint)
	}
	return frames
}

// tsharkOf is what tshark says, and of what it complains if it does not come to the end.
func tsharkOf(t testing.TB, file string) (all map[int]frame, complaint string) {
	t.Helper()
	cmd := tsharkCommand(t, file)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		complaint = fmt.Sprintf("%v: %s", err, &stderr)
	}
	frames := make(map[int]frame)
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		columns := strings.Split(lines.Text(), "\t")
		n, err := strconv.Atoi(columns[0])
		if err != nil || len(columns) != len(tsharkFields)+len(markNames) {
			t.Fatalf("tshark printed %q", lines.Text())
		}
		f := frame{}
		for i, name := range tsharkFields {
			if v := columns[i]; v != "" {
				f[name] = v
			}
		}
		for i, name := range markNames {
			if columns[len(tsharkFields)+i] != "" {
				f[name] = "set"
			}
		}
		frames[n] = f
	}
	return frames, complaint
}

// ours is what tshark should say, of classified segments.
func ours(segments []Classified) map[int]frame {
	frames := make(map[int]frame)
	completeness := make(map[int]Completeness)
	for _, c := range segments {
		f := frame{}
		number := func(name string, n int) {
			if n != 0 {
				f[name] = strconv.Itoa(n)
			}
		}
		seconds := func(name string, d time.Duration) {
			if d != 0 {
				sign := ""
				if d < 0 {
					sign, d = "-", -d
				}
				f[name] = fmt.Sprintf("%s%d.%09d", sign, d/time.Second, d%time.Second)
			}
		}
		before, known := completeness[c.Stream]
		if !known && c.Marks.Has(MarkReusedPorts) {
			before = SawSYN
		}
		completeness[c.Stream] = c.Completeness
		f["frame.number"] = strconv.Itoa(c.Frame)
		f["tcp.stream"] = strconv.Itoa(c.Stream)
		f["tcp.seq"] = strconv.FormatUint(uint64(c.RelativeSeq), 10)
		if c.Flags&FlagACK != 0 {
			f["tcp.flags.ack"] = "1"
			f["tcp.ack"] = strconv.FormatUint(uint64(c.RelativeAck), 10)
		} else {
			f["tcp.flags.ack"] = "0"
		}
		f["tcp.len"] = strconv.Itoa(c.Length)
		f["tcp.window_size"] = strconv.Itoa(c.WindowSize)
		f["tcp.completeness"] = strconv.Itoa(int(before))
		number("tcp.analysis.duplicate_ack_num", c.DuplicateNumber)
		number("tcp.analysis.duplicate_ack_frame", c.DuplicateOf)
		number("tcp.analysis.acks_frame", c.AcksFrame)
		seconds("tcp.analysis.ack_rtt", c.RTT)
		seconds("tcp.analysis.initial_rtt", c.InitialRTT)
		seconds("tcp.analysis.rto", c.RTO)
		if c.RTO != 0 { // tshark shows both or none
			number("tcp.analysis.rto_frame", c.RTOFrame)
		}
		number("tcp.analysis.bytes_in_flight", c.BytesInFlight)
		number("tcp.analysis.push_bytes_sent", c.PushBytesSent)
		for _, name := range c.Marks.Names() {
			f[name] = "set"
		}
		frames[c.Frame] = f
	}
	return frames
}

// difference is a field of which tshark says something else.
type difference struct {
	frame              int
	name, tshark, ours string
}

func (d difference) String() string {
	return fmt.Sprintf("frame %d, %s: tshark %q, ours %q", d.frame, d.name, d.tshark, d.ours)
}

func compareFrames(tshark, ours map[int]frame) []difference {
	var all []difference
	for _, n := range slices.Sorted(maps.Keys(ours)) {
		o, w := ours[n], tshark[n]
		if w == nil {
			all = append(all, difference{n, "frame.number", "", strconv.Itoa(n)})
			continue
		}
		names := make(map[string]bool)
		for name := range o {
			names[name] = true
		}
		for name := range w {
			names[name] = true
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			a, b := w[name], o[name]
			if a == b {
				continue
			}
			switch {
			case name == "tcp.ack" && o["tcp.flags.ack"] == "0": // the field as it is
				continue
			case name == "tcp.analysis.initial_rtt" && a == "": // shown only besides something else
				continue
			}
			all = append(all, difference{n, name, a, b})
		}
	}
	for n := range tshark {
		if ours[n] == nil {
			all = append(all, difference{n, "frame.number", strconv.Itoa(n), ""})
		}
	}
	return all
}

// agreement counts comparisons over many captures.
type agreement struct {
	frames      int
	set         map[string]int // frames with the mark or figure, by tshark
	differences map[string]int
}

func (a *agreement) add(tshark map[int]frame, differences []difference) {
	if a.set == nil {
		a.set, a.differences = make(map[string]int), make(map[string]int)
	}
	a.frames += len(tshark)
	for _, f := range tshark {
		for name := range f {
			a.set[name]++
		}
	}
	for _, d := range differences {
		a.differences[d.name]++
	}
}

func (a *agreement) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d frames compared\n", a.frames)
	for _, name := range append(slices.Clone(markNames[:]), tsharkFields...) {
		fmt.Fprintf(&b, "%-36s %8d set %6d differ\n", name, a.set[name], a.differences[name])
	}
	return b.String()
}

func classifyFile(t testing.TB, file string, c *Classifier) []Classified {
	t.Helper()
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all []Classified
	for s := range r.Segments() {
		all = append(all, c.Add(s))
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// agree compares a file and reports differences.
func agree(t testing.TB, file string, a *agreement) {
	t.Helper()
	classified := classifyFile(t, file, &Classifier{MergeInterfaces: true})
	w := tshark(t, file)
	differences := compareFrames(w, ours(classified))
	if a == nil {
		a = &agreement{}
	}
	a.add(w, differences)
	for i, d := range differences {
		if i == 10 {
			t.Errorf("and %d more", len(differences)-i)
			break
		}
		t.Error(d)
	}
}

func writeFile(t testing.TB, name string, b []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// tcpOptions makes gopacket's options of ours, in the order of Linux.
func tcpOptions(o Options) []layers.TCPOption {
	be := binary.BigEndian
	var all []layers.TCPOption
	add := func(kind layers.TCPOptionKind, data []byte) {
		all = append(all, layers.TCPOption{OptionType: kind, OptionLength: uint8(2 + len(data)), OptionData: data})
	}
	if o.MSS != 0 {
		add(optionMSS, be.AppendUint16(nil, o.MSS))
	}
	if o.SACKPermitted {
		add(optionSACKPermitted, nil)
	}
	if o.HasTimestamps {
		add(optionTimestamps, be.AppendUint32(be.AppendUint32(nil, o.TSVal), o.TSEcr))
	}
	if o.HasWindowScale {
		add(optionWindowScale, []byte{o.WindowScale})
	}
	if o.sackCount > 0 {
		var b []byte
		for _, block := range o.SACK() {
			b = be.AppendUint32(be.AppendUint32(b, block.Left), block.Right)
		}
		add(optionSACK, b)
	}
	return all
}

// captureFile writes segments to a pcapng file, as Ethernet frames of which at most
// 200 bytes were captured.
func captureFile(t testing.TB, segments []Segment) string {
	t.Helper()
	records := make([]record, len(segments))
	for i, s := range segments {
		data := wire(t, s, tcpOptions(s.Options))
		records[i] = record{at: s.At, data: data[:min(len(data), 200)], length: len(data)}
	}
	return writeFile(t, "capture.pcapng", pcapng(t, records...))
}
