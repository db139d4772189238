package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/internal/progress"
)

// The captures are those that the suite "handshake" makes.
const (
	refused    = "testdata/refused.pcapng"
	unanswered = "testdata/unanswered.pcapng"
)

// analyzeCommand runs "tcplab analyze" with what is given as standard input.
func analyzeCommand(input []byte, args ...string) (output, notes string, err error) {
	var out, errOut bytes.Buffer
	root := newRoot()
	root.SetIn(bytes.NewReader(input))
	root.SetOut(&out)
	root.SetErr(&errOut)
	root.SetArgs(append([]string{"analyze"}, args...))
	err = root.ExecuteContext(context.Background())
	return out.String(), errOut.String(), err
}

func document(g Gomega, output string) (d analysis.Document) {
	g.Expect(json.Unmarshal([]byte(output), &d)).To(Succeed())
	g.Expect(d.Schema).To(Equal(analysis.SchemaVersion))
	return d
}

func TestAnalyzeText(t *testing.T) {
	g := NewWithT(t)
	output, notes, err := analyzeCommand(nil, refused, unanswered)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(notes).To(BeEmpty())
	g.Expect(output).To(And(
		HavePrefix(refused+"\n2 TCP segments in 2 packets, 1 conversation, findings: refused\n"),
		ContainSubstring("#0  10.0.1.1:49826 > 10.0.2.2:80  on client/eth0\n"),
		ContainSubstring("Nobody listens on port 80 there"),
		ContainSubstring("\n\n"+unanswered+"\n7 TCP segments"),
		ContainSubstring("back-off       1.02 s, 2.016 s, 4.064 s, 8.192 s,"),
	))

	findings, _, err := analyzeCommand(nil, "--findings", refused)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(findings).To(And(ContainSubstring("! refused:"), Not(ContainSubstring("segments   "))))
}

func TestAnalyzeJSON(t *testing.T) {
	g := NewWithT(t)
	output, notes, err := analyzeCommand(nil, "--json", unanswered, refused)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(notes).To(BeEmpty())
	d := document(g, output)
	g.Expect(d.Files).To(HaveLen(2))
	c := d.Files[0].Conversations[0]
	g.Expect(c.Findings[0].Kind).To(Equal(analysis.UnansweredSYN))
	g.Expect(c.Findings[0].Frames).To(Equal([]int{1, 2, 3, 4, 5, 6, 7}))
	g.Expect(c.Client.BackOff).To(HaveLen(6))
	g.Expect(d.Files[1].Conversations[0].Server.Reset.Reason).To(Equal(analysis.ResetRefused))

	// What is documented for other programs: names and units.
	var raw struct {
		Files []struct {
			File          string
			Conversations []map[string]any
		}
	}
	g.Expect(json.Unmarshal([]byte(output), &raw)).To(Succeed())
	g.Expect(raw.Files[0].File).To(Equal(unanswered))
	conversation := raw.Files[0].Conversations[0]
	g.Expect(conversation).To(HaveKeyWithValue("completeness", []any{"SYN"}))
	g.Expect(conversation).To(HaveKeyWithValue("close", map[string]any{"how": "open"}))
	client := conversation["client"].(map[string]any)
	g.Expect(client).To(And(HaveKey("back_off_ns"), HaveKeyWithValue("addr", "10.0.1.1:49826")))
	g.Expect(client["syn"]).To(HaveKeyWithValue("options", map[string]any{"mss": 1460.0, "window_scale": 6.0, "sack_permitted": true, "timestamps": true}))
	g.Expect(client["causes"]).To(HaveKey("syn"))
	g.Expect(client).NotTo(HaveKey("rtt"))
}

func TestAnalyzeStandardInput(t *testing.T) {
	g := NewWithT(t)
	file, err := os.ReadFile(refused)
	g.Expect(err).NotTo(HaveOccurred())
	output, _, err := analyzeCommand(file, "-")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(HavePrefix("standard input\n2 TCP segments"))

	_, _, err = analyzeCommand([]byte("this is no capture at all"), "-")
	g.Expect(err).To(MatchError(analysis.ErrFormat))
	g.Expect(err).To(MatchError(ContainSubstring("standard input")))
}

func TestAnalyzeChoosesStreams(t *testing.T) {
	g := NewWithT(t)
	output, _, err := analyzeCommand(nil, "--json", "--stream", "0", refused)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(document(g, output).Files[0].Conversations).To(HaveLen(1))

	_, _, err = analyzeCommand(nil, "--stream", "1", refused)
	g.Expect(err).To(MatchError(ContainSubstring(refused + " has no stream 1: it has 1, numbered from 0")))
}

func TestAnalyzeOddFiles(t *testing.T) {
	g := NewWithT(t)
	file, err := os.ReadFile(unanswered)
	g.Expect(err).NotTo(HaveOccurred())
	cut := filepath.Join(t.TempDir(), "cut.pcapng")
	g.Expect(os.WriteFile(cut, file[:700], 0o600)).To(Succeed())

	output, notes, err := analyzeCommand(nil, cut)
	g.Expect(err).To(MatchError(errFailed))
	g.Expect(notes).To(And(HavePrefix("tcplab: "+cut), ContainSubstring("cut off or damaged: after packet"), ContainSubstring("comes before that was read")))
	g.Expect(output).To(ContainSubstring("unanswered-syn"))

	output, _, err = analyzeCommand(nil, "--json", cut)
	g.Expect(err).To(MatchError(errFailed))
	d := document(g, output)
	g.Expect(d.Files[0].Damaged).To(BeTrue())
	g.Expect(d.Files[0].Notes).To(ConsistOf(ContainSubstring("cut off or damaged")))
	g.Expect(d.Files[0].Conversations).To(HaveLen(1))

	// The others are read all the same.
	text := filepath.Join(t.TempDir(), "text")
	g.Expect(os.WriteFile(text, []byte("this is no capture at all"), 0o600)).To(Succeed())
	output, _, err = analyzeCommand(nil, text, refused, "no-such-file")
	g.Expect(err).To(And(MatchError(analysis.ErrFormat), MatchError(os.ErrNotExist), Not(MatchError(errFailed))))
	g.Expect(err).To(MatchError(ContainSubstring(text)))
	g.Expect(output).To(ContainSubstring("! refused"))

	_, _, err = analyzeCommand(nil)
	g.Expect(err).To(MatchError(ContainSubstring("requires at least 1 arg")))
}

// TestAnalyzeOverview: of many conversations there is a line for those that are alike.
func TestAnalyzeOverview(t *testing.T) {
	g := NewWithT(t)
	file := synFlood(g, 500)
	output, _, err := analyzeCommand(file, "-")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(And(HavePrefix("standard input\n500 TCP segments"), MatchRegexp(`4\d\d  to 192\.0\.2\.2:80, #0 to #\d+  unanswered-syn\n`)))
	g.Expect(strings.Count(output, "\n")).To(BeNumerically("<", 10))

	full, _, err := analyzeCommand(file, "--all", "-")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strings.Count(full, "! unanswered-syn")).To(BeNumerically(">", 400))

	one, _, err := analyzeCommand(file, "--stream", "7", "-")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(one).To(And(ContainSubstring("#7 "), ContainSubstring("! unanswered-syn")))
}

func TestAnalyzeChoosesHostsAndPorts(t *testing.T) {
	g := NewWithT(t)
	file := synFlood(g, 500)
	for _, tt := range []struct {
		args []string
		want int
	}{
		{[]string{"--host", "10.0.0.7"}, 1},
		{[]string{"--host", "10.0.0.7,10.0.1.0"}, 2},
		{[]string{"--host", "192.0.2.2"}, 500},
		{[]string{"--port", "80"}, 500},
		{[]string{"--port", "443"}, 0},
		{[]string{"--port", "40000", "--host", "10.0.0.9"}, 1},
	} {
		output, _, err := analyzeCommand(file, append([]string{"--json"}, append(tt.args, "-")...)...)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(document(g, output).Files[0].Conversations).To(HaveLen(tt.want), "%v", tt.args)
	}
	_, _, err := analyzeCommand(file, "--host", "example.com", "-")
	g.Expect(err).To(MatchError(ContainSubstring("--host example.com is not an IP address")))
}

// synFlood is a capture of SYNs, each of another client, ten in a second.
func synFlood(g Gomega, n int) []byte {
	var out bytes.Buffer
	w := pcapgo.NewWriter(&out)
	g.Expect(w.WriteFileHeader(65536, layers.LinkTypeEthernet)).To(Succeed())
	for i := range n {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: net.IP{10, 0, byte(i >> 8), byte(i)}, DstIP: net.IP{192, 0, 2, 2}}
		tcp := &layers.TCP{SrcPort: 40000, DstPort: 80, SYN: true}
		g.Expect(tcp.SetNetworkLayerForChecksum(ip)).To(Succeed())
		b := gopacket.NewSerializeBuffer()
		g.Expect(gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
			&layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}, ip, tcp)).To(Succeed())
		info := gopacket.CaptureInfo{Timestamp: time.Unix(0, int64(i)*int64(100*time.Millisecond)), CaptureLength: len(b.Bytes()), Length: len(b.Bytes())}
		g.Expect(w.WritePacket(info, b.Bytes())).To(Succeed())
	}
	return out.Bytes()
}

// slowInput takes its time in the middle.
type slowInput struct {
	data  []byte
	after int // so many bytes
	pause time.Duration
}

func (s *slowInput) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	if s.after <= 0 {
		time.Sleep(s.pause)
		s.after = len(s.data)
	}
	n := copy(p[:min(len(p), s.after)], s.data)
	s.data, s.after = s.data[n:], s.after-n
	return n, nil
}

// What takes long says so, but not in the midst of what other programs read.
func TestProgressIsNotInTheData(t *testing.T) {
	input, err := os.ReadFile(unanswered)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		var out bytes.Buffer
		display := progress.New(&out) // as main has it
		root := newRoot()
		root.SetIn(&slowInput{data: input, after: 500, pause: time.Minute})
		root.SetOut(display)
		root.SetErr(io.Discard)
		root.SetArgs([]string{"analyze", "--json", "-"})
		g.Expect(root.ExecuteContext(progress.With(t.Context(), display))).To(Succeed())
		display.Close()
		g.Expect(document(g, out.String()).Files).To(HaveLen(1))
	})
}

func TestAnalyzeFrames(t *testing.T) {
	g := NewWithT(t)
	output, _, err := analyzeCommand(nil, "--frames", unanswered)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(And(
		MatchRegexp(`(?m)^ +1 +0\.000000  -->  SYN +0 +0 +64240$`),
		MatchRegexp(`(?m)^ +2 +1\.0\d+  -->  SYN +0 +0 +64240  retransmission, cause: syn$`)))

	output, _, err = analyzeCommand(nil, "--json", "--frames", refused, unanswered)
	g.Expect(err).NotTo(HaveOccurred())
	files := document(g, output).Files
	frames := files[0].Conversations[0].Frames
	g.Expect(frames).To(HaveLen(2))
	g.Expect(frames[0]).To(HaveField("From", "client"))
	g.Expect(frames[1]).To(And(HaveField("From", "server"), HaveField("Flags", "RST ACK"), HaveField("Ack", uint32(1))))
	g.Expect(files[1].Conversations[0].Frames).To(HaveLen(7))
	g.Expect(files[1].Conversations[0].Frames[6]).To(And(HaveField("Cause", "syn"), HaveField("Marks", []string{"retransmission"})))
}

func TestAnalyzeChoice(t *testing.T) {
	g := NewWithT(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--host", "10.0.1.1"}, "1 conversation,"},
		{[]string{"--host", "10.0.1.2"}, "0 conversations,"},
		{[]string{"--port", "80"}, "1 conversation,"},
		{[]string{"--port", "81"}, "0 conversations,"},
		{[]string{"--from", "1s", "--to", "2s"}, "1 conversation,"}, // before, between and after
		{[]string{"--from", "24h"}, "0 conversations,"},
	} {
		output, _, err := analyzeCommand(nil, append(c.args, unanswered)...)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(output).To(ContainSubstring(c.want), "%v", c.args)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--stream", "1"}, "has no stream 1: it has 1, numbered from 0"},
		{[]string{"--host", "x"}, "--host x is not an IP address"},
		{[]string{"--port", "65536"}, "--port 65536: ports are 0 to 65535"},
		{[]string{"--from", "2s", "--to", "1s"}, "--from 2s --to 1s: times are since the first packet"},
		{[]string{"--follow", "1"}, "there is no stream 1: it has 1, numbered from 0"},
		{[]string{"--follow", "0", "--frames"}, "none of the others can be"},
	} {
		_, _, err := analyzeCommand(nil, append(c.args, unanswered)...)
		g.Expect(err).To(MatchError(ContainSubstring(c.want)), "%v", c.args)
	}
}

func TestAnalyzeFollow(t *testing.T) {
	g := NewWithT(t)
	capture := httpCapture(t)
	output, _, err := analyzeCommand(capture, "--follow", "0", "-")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(Equal("--> client, frame 1, 0.000000 s\nGET / HTTP/1.0\n\n<-- server, frame 2, 0.001000 s\n?[2JHello, \n[2 bytes were not captured]\n"))
	output, _, err = analyzeCommand(capture, "--follow", "0", "--hex", "-")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(And(
		ContainSubstring("00000010  0d 0a                                             |..|\n<-- server"),
		ContainSubstring("00000000  1b 5b 32 4a 48 65 6c 6c  6f 2c 20                 |.[2JHello, |\n[2 bytes")))
	output, _, err = analyzeCommand(capture, "--follow", "0", "--json", "-")
	g.Expect(err).NotTo(HaveOccurred())
	var said struct{ Pieces []analysis.Piece }
	g.Expect(json.Unmarshal([]byte(output), &said)).To(Succeed())
	g.Expect(said.Pieces).To(HaveLen(3))
	g.Expect(said.Pieces[2].Missing).To(Equal(2))
	output, _, err = analyzeCommand(nil, "--follow", "0", unanswered)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(Equal("stream 0 has no payload\n"))
}

// httpCapture has a request and the beginning of its answer, of which a snap length has cut off the end.
func httpCapture(t *testing.T) []byte {
	t.Helper()
	var file bytes.Buffer
	w := pcapgo.NewWriter(&file)
	g := NewWithT(t)
	g.Expect(w.WriteFileHeader(65535, layers.LinkTypeRaw)).To(Succeed())
	for i, p := range []struct {
		from, to byte
		text     string
		cut      int
	}{{1, 2, "GET / HTTP/1.0\r\n\r\n", 0}, {2, 1, "\x1b[2JHello, " + "!\n", 2}} {
		ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: net.IP{192, 0, 2, p.from}, DstIP: net.IP{192, 0, 2, p.to}}
		tcp := &layers.TCP{SrcPort: 40000, DstPort: 80, Seq: 100, Ack: 200, ACK: true, PSH: true, Window: 500}
		if p.from == 2 {
			tcp.SrcPort, tcp.DstPort, tcp.Seq, tcp.Ack = 80, 40000, 200, 118
		}
		g.Expect(tcp.SetNetworkLayerForChecksum(ip)).To(Succeed())
		buffer := gopacket.NewSerializeBuffer()
		g.Expect(gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, tcp, gopacket.Payload(p.text))).To(Succeed())
		data := buffer.Bytes()
		at := time.Unix(1_700_000_000, 0).Add(time.Duration(i) * time.Millisecond)
		g.Expect(w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(data) - p.cut, Length: len(data)}, data[:len(data)-p.cut])).To(Succeed())
	}
	return file.Bytes()
}
