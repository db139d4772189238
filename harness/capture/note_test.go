package capture

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/netns/netdev"
)

// segment is a packet of a connection from 10.0.1.1:40000 to 10.0.2.2:80.
func segment(t testing.TB, seq uint32, payload int) []byte {
	t.Helper()
	ip := &layers.IPv4{
		Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP,
		SrcIP: net.IPv4(10, 0, 1, 1), DstIP: net.IPv4(10, 0, 2, 2),
	}
	tcp := &layers.TCP{SrcPort: 40000, DstPort: 80, Seq: seq, Ack: 1, ACK: true, Window: 500}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: layers.EthernetTypeIPv4},
		ip, tcp, gopacket.Payload(make([]byte, payload)))
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// noted is a capture that has read these packets, each at its place in milliseconds, on two
// ends: those of the first are outbound, those of the second inbound.
func noted(t testing.TB, snap int, packets ...[]byte) *Capture {
	t.Helper()
	c := &Capture{path: filepath.Join(t.TempDir(), "x.pcapng"), config: Config{SnapLength: snap}}
	for i, kind := range []uint8{unix.PACKET_OUTGOING, unix.PACKET_HOST} {
		s, err := newSpool(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.close)
		for at, data := range packets {
			if data != nil {
				s.add(packet{time: milliseconds(at).UnixNano() + int64(i), length: len(data), kind: kind, data: data}, snap)
			}
		}
		if err := s.flush(); err != nil {
			t.Fatal(err)
		}
		c.ends = append(c.ends, &end{
			name: []string{"client/eth0", "server/eth0"}[i], linkType: layers.LinkTypeEthernet,
			config: c.config, spool: s, accepted: s.packets,
		})
	}
	return c
}

func milliseconds(n int) time.Time { return time.Unix(0, 0).Add(time.Duration(n) * time.Millisecond) }

// shown is a line for each packet: interface, time, direction, length, comments.
func shown(t testing.TB, path string) []string {
	t.Helper()
	file := readFile(t, path)
	var lines []string
	for _, f := range file.frames {
		lines = append(lines, fmt.Sprintf("%s@%v %d %d/%d %q", file.interfaces[f.InterfaceIndex].Name,
			f.Timestamp.Sub(time.Unix(0, 0)).Truncate(time.Millisecond), f.flags.Direction, f.CaptureLength, f.Length, f.comments))
	}
	return lines
}

func TestDroppedPacketsAreMarked(t *testing.T) {
	first, second, third := segment(t, 1, 100), segment(t, 101, 100), segment(t, 201, 100)
	c := noted(t, 80, first, nil, third)
	for _, n := range []Note{
		{At: milliseconds(5), Interface: "server/eth0", Data: third, Comment: "dropped: late"},
		{At: milliseconds(1), Interface: "client/eth0", Data: second[:60], OriginalLength: len(second), Outbound: true, Comment: "dropped: data segment 2"},
		{At: milliseconds(0), Interface: "client/eth0", Data: second, Outbound: true},
	} {
		if err := c.AddDropped(n); err != nil {
			t.Fatal(err)
		}
	}
	summary, err := c.write()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`client/eth0@0s 2 80/154 []`,
		`client/eth0 dropped@0s 2 80/154 []`,
		`server/eth0@0s 1 80/154 []`,
		`client/eth0 dropped@1ms 2 60/154 ["dropped: data segment 2"]`,
		`client/eth0@2ms 2 80/154 []`,
		`server/eth0@2ms 1 80/154 []`,
		`server/eth0 dropped@5ms 1 80/154 ["dropped: late"]`,
	}
	if got := shown(t, c.path); !slices.Equal(got, want) {
		t.Errorf("packets\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var ends []string
	for _, i := range summary.Interfaces {
		ends = append(ends, fmt.Sprint(i))
	}
	if want := []string{"{client/eth0 2 0}", "{server/eth0 2 0}", "{client/eth0 dropped 2 0}", "{server/eth0 dropped 1 0}"}; !slices.Equal(ends, want) {
		t.Errorf("interfaces %v, want %v", ends, want)
	}
	if summary.Packets() != uint64(len(want)) {
		t.Errorf("%d packets", summary.Packets())
	}
}

func TestCommentsFindTheirPackets(t *testing.T) {
	one, other := segment(t, 1, 100), segment(t, 101, 100)
	c := noted(t, 80, one, other, nil, nil, one) // the first is retransmitted at 4 ms
	note := func(at int, name string, outbound bool, data []byte, comment string) Note {
		return Note{At: milliseconds(at), Interface: name, Outbound: outbound, Data: data, Comment: comment}
	}
	err := c.AddComments(
		note(3, "client/eth0", true, one, "held back"),       // longer than what was captured
		note(0, "client/eth0", true, one[:54], "seen first"), // and shorter
		note(0, "client/eth0", true, one[:54], "twice"),
		note(9, "server/eth0", false, other, "late"),
		note(0, "server/eth0", true, other, "wrong direction"),
		note(0, "client/eth0", true, segment(t, 999, 100), "never sent"),
	)
	if err != nil {
		t.Fatal(err)
	}
	summary, err := c.write()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`client/eth0@0s 2 80/154 ["seen first" "twice"]`,
		`server/eth0@0s 1 80/154 []`,
		`client/eth0@1ms 2 80/154 []`,
		`server/eth0@1ms 1 80/154 ["late"]`,
		`client/eth0@4ms 2 80/154 ["held back"]`,
		`server/eth0@4ms 1 80/154 []`,
	}
	if got := shown(t, c.path); !slices.Equal(got, want) {
		t.Errorf("packets\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if summary.Unplaced != 2 {
		t.Errorf("%d comments without a packet, want 2", summary.Unplaced)
	}
}

func TestBadNotesAreRefused(t *testing.T) {
	data := segment(t, 1, 0)
	good := Note{At: milliseconds(1), Interface: "client/eth0", Data: data, Comment: "x"}
	c := noted(t, 0, data)
	for what, change := range map[string]func(*Note){
		"no interface":           func(n *Note) { n.Interface = "" },
		"13 bytes of data":       func(n *Note) { n.Data = n.Data[:13] },
		"original length 20":     func(n *Note) { n.OriginalLength = 20 },
		"comment of 65536 bytes": func(n *Note) { n.Comment = strings.Repeat("x", 65536) },
		"1970 to 2262":           func(n *Note) { n.At = time.Time{} },
	} {
		bad := good
		change(&bad)
		for _, add := range []func(...Note) error{c.AddDropped, c.AddComments} {
			if err := add(good, bad); err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "note 1") {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	elsewhere := good
	elsewhere.Interface = "client/eth1"
	if err := c.AddComments(elsewhere); err == nil || !strings.Contains(err.Error(), "none of the capture's") {
		t.Errorf("a comment on a packet that was not captured: %v", err)
	}
	if _, err := c.write(); err != nil {
		t.Fatal(err)
	}
	if got := shown(t, c.path); len(got) != 2 {
		t.Errorf("nothing is added when one of several is refused: %q", got)
	}
	if err := c.AddDropped(good); err == nil || !strings.Contains(err.Error(), "before Stop") {
		t.Errorf("a note behind the end: %v", err)
	}
}

func TestNoEndIsNamedAsDroppedOnesAre(t *testing.T) {
	err := checkEnds([]Interface{{Name: "client/eth0 dropped", Device: netdev.Device{Name: "eth0"}}})
	if err == nil || !strings.Contains(err.Error(), "marks packets that were dropped") {
		t.Error(err)
	}
}

func TestTsharkShowsComments(t *testing.T) {
	testenv.Program(t, "tshark", "to read the capture (Debian package tshark)")
	c := noted(t, 80, segment(t, 1, 100), nil, segment(t, 201, 100))
	err := c.AddDropped(Note{At: milliseconds(1), Interface: "client/eth0", Data: segment(t, 101, 100), Outbound: true, Comment: "dropped by a rule: segment 2, once"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AddComments(Note{At: milliseconds(2), Interface: "server/eth0", Data: segment(t, 201, 100), Comment: "held back für 2 ms"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.write(); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("tshark", "-r", c.path, "-T", "fields", "-e", "frame.number", "-e", "frame.interface_name", "-e", "frame.comment",
		"-e", "_ws.malformed", "-E", "separator=|")
	command.Env = append(os.Environ(), "HOME="+t.TempDir(), "LC_ALL=C.UTF-8") // without the user's preferences
	var output, complaints strings.Builder
	command.Stdout, command.Stderr = &output, &complaints
	if err := command.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &complaints)
	}
	const want = "1|client/eth0||\n2|server/eth0||\n3|client/eth0 dropped|dropped by a rule: segment 2, once|\n4|client/eth0||\n5|server/eth0|held back für 2 ms|\n"
	if output.String() != want {
		t.Errorf("tshark shows\n%swant\n%s", &output, want)
	}
	for line := range strings.Lines(complaints.String()) {
		if !strings.HasPrefix(line, "Running as user") { // it dislikes root, which says nothing about the file
			t.Errorf("tshark: %s", line)
		}
	}
}
