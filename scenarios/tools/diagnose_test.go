package tools

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/internal/diagnose"
	"github.com/tcplab/tcplab/peers"
)

var diagnosing = peers.Func("diagnose", func(t *peers.Task, o diagnose.Options) (*diagnose.Report, error) {
	if err := t.Ready(nil); err != nil {
		return nil, err
	}
	return diagnose.Run(t.Context(), o, nil)
})

// diagnosed runs diagnose in a host, and returns what it says of port of the server.
func diagnosed(lab *harness.Lab, from *harness.Host, server *harness.Host, o diagnose.Options) *diagnose.Report {
	GinkgoHelper()
	if o.Host == "" {
		o.Host = server.IP().String()
	}
	o.Port = port
	report, err := diagnosing.Value(lab.Start(from, diagnosing.With(o)).Wait())
	Expect(err).NotTo(HaveOccurred())
	AddReportEntry("diagnosis", reportText{report}, ReportEntryVisibilityFailureOrVerbose)
	return report
}

// reportText is what a person would have seen.
type reportText struct{ *diagnose.Report }

func (r reportText) String() string {
	text := new(stringWriter)
	if err := r.Text(text, 100); err != nil {
		return err.Error()
	}
	return string(*text)
}

type stringWriter []byte

func (w *stringWriter) Write(b []byte) (int, error) {
	*w = append(*w, b...)
	return len(b), nil
}

// exitStatuses are what tcplab diagnose exits with, as docs/tools.md says to scripts. Advice is no failure.
var exitStatuses = map[diagnose.Kind]int{
	diagnose.NoSuchName: 10, diagnose.NoResolver: 11,
	diagnose.NoRoute: 20, diagnose.NoNeighbour: 21, diagnose.LocalFirewall: 22, diagnose.PortsExhausted: 23, diagnose.Failed: 24,
	diagnose.Refused: 30, diagnose.Rejected: 31, diagnose.Filtered: 32, diagnose.AcceptQueueFull: 33, diagnose.SYNQueueFull: 34,
	diagnose.MTUBlackHole: 40, diagnose.Unacknowledged: 41, diagnose.NotReading: 42, diagnose.SilentServer: 43, diagnose.ClosedUnanswered: 44,
	diagnose.Reset: 45, diagnose.TLSFailed: 46, diagnose.NotHTTP: 47,
	diagnose.SYNLoss: 50, diagnose.Loss: 51, diagnose.LateAnswer: 52, diagnose.ZeroWindow: 53, diagnose.WindowLimited: 54, diagnose.DelayedACK: 55,
	diagnose.TimeWait: 60, diagnose.CloseWait: 61,
	diagnose.NoKeepalive: 0,
}

// diagnosingWithoutFiles is the same in a process that may open no further file.
var diagnosingWithoutFiles = peers.Func("diagnose-without-files", func(t *peers.Task, o diagnose.Options) (*diagnose.Report, error) {
	if err := t.Ready(nil); err != nil {
		return nil, err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	least := 0 // above all that are open
	for _, file := range open {
		if fd, err := strconv.Atoi(file.Name()); err == nil {
			least = max(least, fd)
		}
	}
	less := limit
	less.Cur = uint64(least) // the greatest was of the directory itself, and is free again
	for fd := range least {
		if _, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err != nil {
			less.Cur = uint64(fd) // of a lower number that is free
			break
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &less); err != nil {
		return nil, err
	}
	report, err := diagnose.Run(t.Context(), o, nil)
	return report, errors.Join(err, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
})

// expectOnly expects one finding, and returns it.
func expectOnly(report *diagnose.Report, kind diagnose.Kind) diagnose.Finding {
	GinkgoHelper()
	var kinds []diagnose.Kind
	for _, f := range report.Findings {
		kinds = append(kinds, f.Kind)
	}
	Expect(kinds).To(Equal([]diagnose.Kind{kind}), reportText{report}.String())
	f := report.Findings[0]
	Expect(f.Status).To(Equal(exitStatuses[kind]))
	Expect(report.Status).To(Equal(f.Status), "the program's exit status")
	for _, said := range []string{f.Tried, f.Seen, f.Means, f.Next, string(f.Sure)} {
		Expect(said).NotTo(BeEmpty())
	}
	return f
}

// An oddServer takes connections, and does with each what its kind says.
type oddServer struct {
	Address string
	Kind    oddKind
	Buffer  int // SO_RCVBUF; 0 is the kernel's
	Rate    int // of a slow reader, in bytes a second
}

type oddKind string

const (
	deaf      oddKind = "deaf"      // never reads
	closing   oddKind = "closing"   // reads what is asked, and closes
	resetting oddKind = "resetting" // reads what is asked, and resets
	reading   oddKind = "reading"   // reads all, as it comes
	slowly    oddKind = "slowly"    // reads all, at a rate, in lumps
	pieces    oddKind = "pieces"    // answers HTTP in two writes, with Nagle's algorithm
	greeting  oddKind = "greeting"  // greets
)

var oddServe = peers.Func("odd-server", func(t *peers.Task, c oddServer) (none struct{}, err error) {
	listener, err := net.Listen("tcp", c.Address)
	if err != nil {
		return none, err
	}
	defer listener.Close()
	if err := t.Ready(listener.Addr()); err != nil {
		return none, err
	}
	stop := make(chan struct{})
	go func() { <-t.Context().Done(); close(stop); listener.Close() }()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return none, nil
		}
		tcp := conn.(*net.TCPConn)
		if c.Buffer > 0 {
			if err := tcp.SetReadBuffer(c.Buffer); err != nil {
				return none, err
			}
		}
		go c.serve(tcp, stop)
	}
})

func (c oddServer) serve(conn *net.TCPConn, stop <-chan struct{}) {
	defer conn.Close()
	request := make([]byte, 4096)
	switch c.Kind {
	case deaf:
		<-stop
	case closing:
		_, _ = conn.Read(request)
	case resetting:
		_, _ = conn.Read(request)
		_ = conn.SetLinger(0)
	case reading:
		_, _ = io.Copy(io.Discard, conn)
	case slowly:
		const every = 500 * time.Millisecond
		part := make([]byte, c.Rate/int(time.Second/every))
		for {
			if _, err := io.ReadFull(conn, part); err != nil {
				return
			}
			time.Sleep(every)
		}
	case pieces:
		_ = conn.SetNoDelay(false)
		_, _ = conn.Read(request)
		const body = "small"
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body))
		_, _ = io.WriteString(conn, body)
		_, _ = io.Copy(io.Discard, conn)
	case greeting:
		_, _ = io.WriteString(conn, "220 at your service\r\n")
		_, _ = io.Copy(io.Discard, conn)
	}
}

// odd starts such a server.
func odd(lab *harness.Lab, host *harness.Host, server oddServer) {
	GinkgoHelper()
	server.Address = host.Addr(port).String()
	lab.Start(host, oddServe.With(server))
}

// web starts a server that answers each GET and POST.
func web(lab *harness.Lab, host *harness.Host, server webServer) {
	GinkgoHelper()
	server.Address = host.Addr(port).String()
	lab.Start(host, webServe.With(server))
}
