package watch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/testenv"
)

// watchesVariable makes a process of this test binary one that reads so many times, so that its memory is a watch's alone.
const watchesVariable = "TCPLAB_TEST_WATCHES"

func TestMain(m *testing.M) {
	for variable, f := range map[string]func(int) error{watchesVariable: watchAndTell, socketsVariable: haveSockets} {
		if number, err := strconv.Atoi(os.Getenv(variable)); err == nil {
			if err := f(number); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	os.Exit(m.Run())
}

// watched is what such a process tells.
type watched struct {
	Took    []time.Duration // of each reading, but the first
	CPU     []time.Duration // of each, in user and system mode
	Sockets int
	Owned   int   // of the connections that the last reading lists
	PeakKB  int64 // VmHWM
}

func watchAndTell(times int) error {
	w, err := New(nil, Options{})
	if err != nil {
		return err
	}
	defer w.Close()
	var all watched
	const most = 500 // readings, until owners are found: a busy machine takes many
	cpu := func() time.Duration {
		var usage unix.Rusage
		_ = unix.Getrusage(unix.RUSAGE_SELF, &usage) // it has no reason to fail
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	for n, searching := 0, false; n < times || searching && n < most; n++ {
		before := cpu()
		r, err := w.Read(Query{Listed: 1000}) // as the screen does
		if err != nil {
			return err
		}
		all.CPU = append(all.CPU, cpu()-before)
		searching = r.Searching
		all.Took, all.Sockets, all.Owned = append(all.Took, r.Took), r.Sockets, 0
		for _, c := range r.Connections {
			if c.Owner != nil {
				all.Owned++
			}
		}
	}
	all.Took, all.CPU = all.Took[1:], all.CPU[1:]
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	peak := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindSubmatch(status)
	if all.PeakKB, err = strconv.ParseInt(string(peak[1]), 10, 64); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

// watches runs such a process in a scene.
func (s scene) watches(times int) (all watched) {
	s.t.Helper()
	this, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	// A guest collects garbage late; people's machines do not.
	output := s.run(exec.Command(this), fmt.Sprintf("%s=%d", watchesVariable, times), "GOGC=100")
	if err := json.Unmarshal([]byte(output), &all); err != nil {
		s.t.Fatalf("%v in %q", err, output)
	}
	return all
}

// socketsVariable makes a process one that has the sockets of so many connections over the loopback interface, both ends, from when it
// has said so until its standard input ends. A process may open fewer files than the sockets that are wanted.
const socketsVariable = "TCPLAB_TEST_SOCKETS"

func haveSockets(connections int) error {
	limit := unix.Rlimit{Cur: 2*uint64(connections) + 100, Max: 2*uint64(connections) + 100} //nolint:gosec // not negative
	_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)                                           // without leave, what there is may do
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(listener, 16)); err != nil {
		return err
	}
	address, err := unix.Getsockname(listener)
	if err != nil {
		return err
	}
	for range connections {
		client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(client, address); err != nil {
			return err
		}
		if _, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// many has processes make so many sockets in a scene, and a listener each.
func (s scene) many(sockets int) (listeners int) {
	s.t.Helper()
	const each = 8000 // connections, so that 16,000 files are open
	for connections := sockets / 2; connections > 0; connections -= each {
		listeners++
		s.having(min(connections, each))
	}
	return listeners
}

// having starts a process that has the sockets of so many connections, and a listener.
func (s scene) having(connections int) (pid int) {
	s.t.Helper()
	this, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(this)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", socketsVariable, connections))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	out, theirs, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd.Stdout = theirs
	wait, err := s.host.Start(cmd)
	theirs.Close()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		stdin.Close()
		_ = wait()
		out.Close()
	})
	if n, err := out.Read(make([]byte, 10)); n == 0 {
		s.t.Fatalf("a process with %d connections is not ready: %v", connections, err)
	}
	return cmd.Process.Pid
}

// BenchmarkWatch is a reading of many sockets, with owners, and ss that lists the same without them, in turns. CPU time is of the
// process alone, whatever else the machine does.
func BenchmarkWatch(b *testing.B) {
	testenv.Program(b, "ss", "to compare with")
	const turns = 3
	for _, sockets := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("sockets=%d", sockets), func(b *testing.B) {
			s := scene{b, host(b)}
			listeners := s.many(sockets)
			var ours, theirs, ourCPU, theirCPU []time.Duration
			var ourPeak, theirPeak int64
			for b.Loop() {
				for range turns {
					w := s.watches(6)
					if w.Sockets != sockets+listeners || w.Owned != 1000 {
						b.Fatalf("watch saw %d sockets of %d, and owners of %d of 1000", w.Sockets, sockets, w.Owned)
					}
					ours, ourCPU, ourPeak = append(ours, w.Took...), append(ourCPU, w.CPU...), max(ourPeak, w.PeakKB)
					cmd := exec.Command("ss", "-tain")
					began := time.Now()
					wait, err := s.host.Start(cmd) // its output goes to /dev/null
					if err == nil {
						err = wait()
					}
					if err != nil {
						b.Fatal(err)
					}
					usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
					theirs, theirPeak = append(theirs, time.Since(began)), max(theirPeak, usage.Maxrss)
					theirCPU = append(theirCPU, time.Duration(usage.Utime.Nano()+usage.Stime.Nano()))
				}
			}
			median := func(d []time.Duration) float64 { return slices.Sorted(slices.Values(d))[len(d)/2].Seconds() * 1000 }
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(ours), "ms/reading")
			b.ReportMetric(median(ourCPU), "cpu-ms/reading")
			b.ReportMetric(float64(ourPeak)/1000, "MB")
			b.ReportMetric(median(theirs), "ss-ms")
			b.ReportMetric(median(theirCPU), "ss-cpu-ms")
			b.ReportMetric(float64(theirPeak)/1000, "ss-MB")
			b.ReportMetric(median(ourCPU)/median(theirCPU), "x-ss")
		})
	}
}

// TestManySockets: what is promised of 100,000 sockets holds for a tenth of them in a tenth of the memory, on any machine.
func TestManySockets(t *testing.T) {
	s := scene{t, host(t)}
	const sockets = 10_000
	listeners := s.many(sockets)
	w := s.watches(4)
	t.Logf("%v, %d MB", w.Took, w.PeakKB/1000)
	if w.Sockets != sockets+listeners || w.Owned != 1000 {
		t.Errorf("saw %d sockets of %d, and owners of %d of 1000", w.Sockets, sockets+listeners, w.Owned)
	}
	const mostMB = 80
	if w.PeakKB/1000 > mostMB {
		t.Errorf("took %d MB: want up to %d", w.PeakKB/1000, mostMB)
	}
}
