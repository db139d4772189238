package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
)

// Against the real one.
func TestIperf3(t *testing.T) {
	path, err := exec.LookPath("iperf3")
	if err != nil {
		t.Skip("needs iperf3: apt-get install iperf3")
	}
	g := NewWithT(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	server := exec.CommandContext(t.Context(), path, "-s", "-B", "127.0.0.1", "-p", strconv.Itoa(port))
	g.Expect(server.Start()).To(Succeed())
	defer server.Wait() // it is killed
	defer server.Process.Kill()
	g.Eventually(func() error {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			conn.Close()
		}
		return err
	}, "10s").Should(Succeed())

	o := Iperf3{Host: "127.0.0.1", Port: uint16(port), Duration: time.Second}
	var report *Iperf3Report
	g.Eventually(func() error { // the look whether it listens counts as a test, for a moment
		report, err = o.Run(t.Context(), nil)
		return err
	}, "20s").Should(Succeed())
	for name, direction := range map[string]*Transfer{"upload": report.Upload, "download": report.Download} {
		g.Expect(direction.Bytes).To(BeNumerically(">", 1_000_000), name)
		g.Expect(direction.Took).To(BeNumerically(">", 900*time.Millisecond), name) // and longer on a busy machine
		g.Expect(direction.Rate).To(BeNumerically("~", float64(direction.Bytes)*8/direction.Took.Seconds(), 1), name)
	}
	var out strings.Builder
	g.Expect(report.Text(&out)).To(Succeed())
	g.Expect(out.String()).To(MatchRegexp(`(?s)iperf3, 1s each.*upload    [\d.]+ [GMk]bit/s, \d+ retransmits; RTT .*download  [\d.]+ [GMk]bit/s`))

	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	began := time.Now()
	long := Iperf3{Host: o.Host, Port: o.Port, Duration: time.Minute}
	for _, err = long.Run(ctx, nil); errors.Is(err, unix.ECONNREFUSED); _, err = long.Run(ctx, nil) { // the server is between two tests
	}
	g.Expect(err).To(MatchError(context.Canceled))
	g.Expect(time.Since(began)).To(BeNumerically("<", 10*time.Second))
}

// answering is a server that says some states, whatever it is told.
func answering(t *testing.T, says string) Iperf3 {
	t.Helper()
	o := serve(t, func(conn net.Conn) {
		_, _ = io.WriteString(conn, says)
		_, _ = io.Copy(io.Discard, conn) // until the client ends it
	})
	return Iperf3{Host: o.Host, Port: o.Port, Duration: time.Second, Timeout: 300 * time.Millisecond}
}

func TestIperf3Servers(t *testing.T) {
	long := string(binary.BigEndian.AppendUint32(nil, 1<<30))
	for says, want := range map[string]string{
		"":                          "upload: iperf3: wait for the server's next state: ",
		"\xff":                      "does one at a time",
		"\xfe":                      "gave the test up",
		"SSH-2.0":                   "is that an iperf3 server?",
		"\x02":                      "begins without a stream",
		"\x0e":                      "ended the test before there were results",
		"\x0d" + long:               "are to have 1073741824 bytes",
		"\x0d\x00\x00\x00\x02{}":    "have 0 streams",
		"\x0d\x00\x00\x00\x01{":     "the server's results: ",
		"\x0d\x00\x00\x00\x09{}...": "the server's results: ",
	} {
		report, err := answering(t, says).Run(t.Context(), nil)
		if !errors.Is(err, ErrIperf3) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", says, err, want)
		}
		if report == nil || report.Upload != nil {
			t.Errorf("%q: %+v", says, report)
		}
	}
	for _, o := range []Iperf3{{}, {Host: "x"}, {Host: "x", Port: 1, Family: 5}, {Host: "x", Port: 1, Duration: time.Millisecond}, {Host: "x", Port: 1, Timeout: -1}} {
		if _, err := o.Run(t.Context(), nil); err == nil {
			t.Errorf("%+v", o)
		}
	}
}

// A server that resets or closes before it has said anything is between two tests.
func TestIperf3BetweenTests(t *testing.T) {
	var connections atomic.Int32
	o := serve(t, func(conn net.Conn) {
		switch connections.Add(1) {
		case 1:
			_ = conn.(*net.TCPConn).SetLinger(0)
		case 2:
		default:
			_, _ = io.WriteString(conn, "\xff")
			_, _ = io.Copy(io.Discard, conn)
		}
	})
	_, err := Iperf3{Host: o.Host, Port: o.Port, Duration: time.Second, Timeout: 10 * time.Second}.Run(t.Context(), nil)
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("does one at a time")))
}

func FuzzParseIperf(f *testing.F) {
	f.Add([]byte(`{"streams": [{"id": 1, "bytes": 1000, "retransmits": 18446744073709551615}]}`))
	f.Add([]byte(`{"streams": [{"bytes": -1}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseIperf(body)
		if err != nil {
			return
		}
		transfer, err := (&iperfTest{took: time.Second, theirs: r}).transfer()
		if err != nil || transfer.Bytes < 0 || transfer.Retransmits < 0 {
			t.Errorf("%q: %+v, %v", body, transfer, err)
		}
	})
}
