package programs

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/peers/course/servers"
)

// A load is what a client does: so many connections that all stay open, and requests on all of them in turn, of which so many are under
// way at a time.
type load struct {
	Address     string
	Connections int
	Together    int
	Rounds      int // requests on each connection
}

const (
	loadSize  = 100 // bytes of a request
	loadUsage = "usage"
)

// A usage is what a server's process has used until now. The server answers by it to a request of its own.
type usage struct {
	CPU    time.Duration
	Memory int64 // resident, after a garbage collection, in bytes
}

// A loadReport is what came of it.
type loadReport struct {
	Requests       int
	Elapsed        time.Duration // for all
	P50, P99, P999 time.Duration // of the time to answer
	CPU            time.Duration // of the server, for all
	Memory         int64         // of the server, for all connections, in bytes
	KernelMemory   int64         // of the machine, for both ends of all connections, in bytes
}

// serveLoad is a server for as many connections as may come.
var serveLoad = peers.Func("load-service", func(t *peers.Task, c serviceConfig) (none struct{}, err error) {
	if err := allowFiles(c.MaxClients); err != nil {
		return none, err
	}
	listener, err := listening(t, c.Address)
	if err != nil {
		return none, err
	}
	return none, c.serve(t, listener, servers.Config{Handle: func(request []byte) ([]byte, error) {
		if string(request) == loadUsage {
			u, err := ownUsage()
			if err != nil {
				return nil, err
			}
			return json.Marshal(u)
		}
		return request, nil
	}})
})

// allowFiles lets this process have that many connections. Who is not root needs a hard limit that allows it.
func allowFiles(connections int) error {
	most := uint64(connections + 200)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur >= most {
		return err
	}
	limit.Cur, limit.Max = most, max(limit.Max, most)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("setrlimit RLIMIT_NOFILE %d (raise the hard limit: ulimit -Hn): %w", most, err)
	}
	return nil
}

func ownUsage() (u usage, err error) {
	debug.FreeOSMemory()
	if u.Memory, err = kilobytes("/proc/self/status", "VmRSS"); err != nil {
		return u, err
	}
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return u, err
	}
	u.CPU = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	return u, nil
}

// kilobytes reads a field of a file of /proc, and returns bytes.
func kilobytes(file, field string) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); name == field {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no %s", file, field)
}

// sendLoad is the client.
var sendLoad = peers.Func("load-client", func(t *peers.Task, l load) (r loadReport, err error) {
	if err := t.Ready(nil); err != nil {
		return r, err
	}
	if err := allowFiles(l.Connections); err != nil {
		return r, err
	}
	conns := make([]net.Conn, l.Connections)
	defer func() {
		for _, conn := range conns {
			if conn != nil {
				conn.Close()
			}
		}
	}()
	control, err := net.Dial("tcp", l.Address)
	if err != nil {
		return r, err
	}
	defer control.Close()
	var before, connected, after usage
	var slab [2]int64
	if slab[0], err = kilobytes("/proc/meminfo", "Slab"); err != nil {
		return r, err
	}
	if before, err = askUsage(control); err != nil {
		return r, err
	}
	// Each has been served once when its memory is measured.
	err = l.each(func(i int) (err error) {
		if conns[i], err = net.Dial("tcp", l.Address); err != nil {
			return err
		}
		return askOnce(conns[i], i)
	})
	if err != nil {
		return r, err
	}
	if connected, err = askUsage(control); err != nil {
		return r, err
	}
	if slab[1], err = kilobytes("/proc/meminfo", "Slab"); err != nil {
		return r, err
	}
	took := make([]time.Duration, l.Connections*l.Rounds)
	began := time.Now()
	for round := range l.Rounds {
		err = l.each(func(i int) error {
			began := time.Now()
			err := askOnce(conns[i], i)
			took[round*l.Connections+i] = time.Since(began)
			return err
		})
		if err != nil {
			return r, err
		}
	}
	r.Elapsed = time.Since(began)
	if after, err = askUsage(control); err != nil {
		return r, err
	}
	slices.Sort(took)
	at := func(p float64) time.Duration { return took[int(math.Ceil(p*float64(len(took))))-1] }
	r.Requests = len(took)
	r.P50, r.P99, r.P999 = at(0.5), at(0.99), at(0.999)
	r.CPU, r.Memory, r.KernelMemory = after.CPU-connected.CPU, connected.Memory-before.Memory, slab[1]-slab[0]
	return r, nil
})

// each does something with each connection, with Together of them at a time. The first error ends it.
func (l load) each(do func(i int) error) (err error) {
	var all sync.WaitGroup
	var once sync.Once
	for start := range l.Together {
		all.Go(func() {
			for i := start; i < l.Connections; i += l.Together {
				if failed := do(i); failed != nil {
					once.Do(func() { err = fmt.Errorf("connection %d: %w", i, failed) })
					return
				}
			}
		})
	}
	all.Wait()
	return err
}

// askOnce sends a request and reads its answer, without buffers of the connection's own: there are many.
func askOnce(conn net.Conn, i int) error {
	var buffer [2 * (loadSize + 5)]byte
	request := append(buffer[:0], 0, 0, 0, loadSize)
	request = fmt.Appendf(request, "%0*d", loadSize, i)
	answer := buffer[len(request) : len(request)+loadSize+5]
	if err := exchange(conn, request, answer); err != nil {
		return err
	}
	if answer[4] != '+' || string(answer[5:]) != string(request[4:]) {
		return fmt.Errorf("%q is answered by %q", request, answer)
	}
	return nil
}

func exchange(conn net.Conn, request, answer []byte) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := conn.Write(request); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, answer)
	return err
}

func askUsage(conn net.Conn) (u usage, err error) {
	head := make([]byte, 5)
	if err := exchange(conn, append([]byte{0, 0, 0, byte(len(loadUsage))}, loadUsage...), head); err != nil {
		return u, err
	}
	answer := make([]byte, int(head[3])-1) // less than 256 bytes
	if _, err := io.ReadFull(conn, answer); err != nil {
		return u, err
	}
	if err := json.Unmarshal(answer, &u); err != nil {
		return u, fmt.Errorf("the server says %q: %w", answer, err)
	}
	return u, nil
}

// rowNames are the servers' in the table.
var rowNames = map[architecture]string{goroutines: "goroutines", workers: "pool", levelTriggered: "level-triggered", edgeTriggered: "edge-triggered"}

// row is the report as go test prints a benchmark, which internal/benchtable makes a row of its table.
func (r loadReport) row(where string, a architecture, l load) string {
	var row strings.Builder
	fmt.Fprintf(&row, "BenchmarkConnections/%s/%s 1", where, rowNames[a])
	for _, m := range r.metrics(l) {
		fmt.Fprintf(&row, " %.6g %s", m.value, m.unit)
	}
	return row.String() + "\n"
}

type loadMetric struct {
	unit  string
	value float64
}

func (r loadReport) metrics(l load) []loadMetric {
	microseconds := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	return []loadMetric{
		{"connections", float64(l.Connections)},
		{"requests/s", float64(r.Requests) / r.Elapsed.Seconds()},
		{"p50-us", microseconds(r.P50)}, {"p99-us", microseconds(r.P99)}, {"p99.9-us", microseconds(r.P999)},
		{"cpu-us/request", microseconds(r.CPU) / float64(r.Requests)},
		{"B/connection", float64(r.Memory) / float64(l.Connections)},
		{"kernel-B/connection", float64(r.KernelMemory) / float64(l.Connections)},
	}
}

// connections are how many each server gets. "make connections" asks for 10,000, on this machine and in the guest: there that takes two to
// three minutes of this machine's CPU time for each server.
var connections = flag.Int("connections", 1000, "open connections to each server, in BenchmarkConnections and its spec")

// BenchmarkConnections has many connections with each server on this machine, over the loopback interface.
func BenchmarkConnections(b *testing.B) {
	for _, a := range []architecture{goroutines, workers, levelTriggered, edgeTriggered} {
		b.Run("host/"+rowNames[a], func(b *testing.B) {
			ctx := b.Context()
			server, err := peers.Start(ctx, nil, "server", serveLoad.With(serviceConfig{Address: "127.0.0.1:0", Architecture: a, MaxClients: *connections + 1}))
			if err != nil {
				b.Fatal(err)
			}
			ready, err := server.Ready(ctx)
			if err != nil {
				b.Fatal(err)
			}
			l := load{Address: ready.Addr.String(), Connections: *connections, Together: 100, Rounds: 20}
			client, err := peers.Start(ctx, nil, "client", sendLoad.With(l))
			if err != nil {
				b.Fatal(err)
			}
			result, err := client.Wait(ctx)
			if err != nil {
				b.Fatal(err)
			}
			report, err := sendLoad.Value(result)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(0, "ns/op") // of starting, connecting and all else: says nothing
			for _, m := range report.metrics(l) {
				b.ReportMetric(m.value, m.unit)
			}
			if _, err := server.Stop(ctx); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// The bounds of memory are those of an idle connection: goroutines have a stack (at least 2 KiB, the runtime's fixedStack) and a buffer of bufio
// (4 KiB); epoll servers have neither.
var _ = eachServer("many connections are all answered, and cost no more than they must, with", Label("long", "netem", "linux"), func(ctx SpecContext, a architecture) {
	lab := harness.NewLab(ctx)
	lab.AllowBusy() // how fast this is is the machine's, and only noted
	direct := lab.Direct()
	address := direct.Server().Addr(port).String()
	serving := lab.Start(direct.Server(), serveLoad.With(serviceConfig{Address: address, Architecture: a, MaxClients: *connections + 1}))
	l := load{Address: address, Connections: *connections, Together: 100, Rounds: 2}
	report, err := sendLoad.Value(lab.Start(direct.Client(), sendLoad.With(l)).Wait())
	Expect(err).NotTo(HaveOccurred())
	lab.Measure("answered", report.Requests, bounds.Exactly(l.Connections*l.Rounds), "the contract")
	for _, m := range report.metrics(l) {
		lab.Note(m.unit, math.Round(m.value))
	}
	most, why := bounds.AtMost(2<<10), "less than the smallest stack"
	if a == goroutines || a == workers {
		most, why = bounds.Between(2<<10+4<<10, 24<<10), "runtime: fixedStack; bufio"
	}
	lab.Measure("memory of a connection", bounds.In(int(report.Memory)/l.Connections, "bytes"), most.In("bytes"), why)
	Expect(os.WriteFile(filepath.Join(os.Getenv("TCPLAB_ARTEFACTS"), "connections.txt"), []byte(report.row("guest", a, l)), 0o644)).To(Succeed())
	// Nothing was lost. What the guest's one CPU held up for longer than a tail loss probe waits may come again, on a link without delay.
	counters := direct.Server().Counters()
	Expect(counters).To(HaveCounters{
		"TcpPassiveOpens": *connections + 1, "TcpExtListenOverflows": 0, "TcpExtTCPTimeouts": 0,
		"TcpRetransSegs": BeNumerically("<=", counters["TcpExtTCPLossProbes"]),
	})
	serving.Stop()
})
