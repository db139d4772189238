package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/testenv"
	"golang.org/x/sys/unix"
)

func fixture(t testing.TB, version string) Counters {
	t.Helper()
	c := make(Counters)
	for name, parse := range map[string]func(string, Counters) error{
		"snmp":    parseSNMP,
		"netstat": parseSNMP,
		"snmp6":   parseSNMP6,
	} {
		text, err := os.ReadFile("testdata/linux-" + version + "-" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := parse(string(text), c); err != nil {
			t.Fatalf("%s of %s: %v", name, version, err)
		}
	}
	return c
}

func TestParseFixtures(t *testing.T) {
	for _, tt := range []struct {
		version string
		count   int
		want    Counters
	}{
		{"6.1", 365, Counters{
			"IpForwarding": 2, "TcpRtoMin": 200, "TcpMaxConn": -1, "TcpRetransSegs": 0,
			"TcpExtTCPTimeouts": 0, "IpExtInOctets": 0, "Ip6InReceives": 0,
		}},
		{"6.18", 402, Counters{
			"TcpActiveOpens": 2137, "TcpOutSegs": 474374, "TcpExtTW": 1445, "IpExtInOctets": 13287147377, "IcmpMsgInType3": 1, "Ip6InReceives": 3057, "MPTcpExtMPCurrEstab": 0,
		}},
	} {
		t.Run(tt.version, func(t *testing.T) {
			c := fixture(t, tt.version)
			if len(c) != tt.count {
				t.Errorf("%d counters, want %d", len(c), tt.count)
			}
			for _, name := range tt.want.Names() {
				if v, err := c.Get(name); err != nil || v != tt.want[name] {
					t.Errorf("%s = %d, %v; want %d", name, v, err, tt.want[name])
				}
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"no colon", "Tcp", "line 1"},
		{"no values", "Tcp: A\n", "line 1: group Tcp has names but no values"},
		{"other group", "Tcp: A\nUdp: 1\n", "line 2"},
		{"group with a longer name", "Tcp: A\nTcpExt: 1\n", "line 2"},
		{"too few", "Tcp: A B\nTcp: 1\n", "2 names and 1 values"},
		{"no number", "Tcp: A\nTcp: x\n", "TcpA"},
		{"too large", "Tcp: A\nTcp: 18446744073709551615\n", "out of range"},
		{"twice", "Tcp: A A\nTcp: 1 1\n", "TcpA: is there twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := parseSNMP(tt.in, Counters{}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	for _, in := range []string{"Ip6In\n", "Ip6In 1 2\n", "Ip6In x\n", "A 1\nA 1\n", "\n"} {
		if err := parseSNMP6(in, Counters{}); err == nil {
			t.Errorf("snmp6 %q: no error", in)
		}
	}
}

func TestSince(t *testing.T) {
	before := Counters{"TcpOutSegs": 10, "TcpRetransSegs": 3, "TcpCurrEstab": 5, "TcpRtoMin": 200, "TcpExtGone": 1}
	after := Counters{"TcpOutSegs": 15, "TcpRetransSegs": 3, "TcpCurrEstab": 2, "TcpRtoMin": 200, "IcmpMsgInType3": 2}
	diff := after.Since(before)
	want := `{"IcmpMsgInType3":2,"TcpCurrEstab":2,"TcpOutSegs":5,"TcpRetransSegs":0,"TcpRtoMin":200}`
	if got, err := json.Marshal(diff); err != nil || string(got) != want {
		t.Errorf("difference %s, %v; want %s", got, err, want)
	}
	if got, want := diff.Nonzero(), []string{"IcmpMsgInType3", "TcpCurrEstab", "TcpOutSegs"}; !slices.Equal(got, want) {
		t.Errorf("not zero: %v, want %v", got, want)
	}
}

func TestGet(t *testing.T) {
	c := fixture(t, "6.1")
	for _, name := range []string{"TcpRetransSegs", "IcmpMsgInType8", "Icmp6OutType128"} {
		if v, err := c.Get(name); err != nil || v != 0 {
			t.Errorf("%s = %d, %v; want 0", name, v, err)
		}
	}
	for _, tt := range []struct {
		name    string
		similar []string
	}{
		{"TCPRetransSegs", []string{"TcpRetransSegs"}},
		{"TCPTimeouts", []string{"TcpExtTCPTimeouts"}},
		{"RetransSegs", []string{"TcpRetransSegs"}},
		{"TcpExtTCPNoSuchThing", nil},
		{"", nil},
		{"IcmpMsgInType", nil},
	} {
		_, err := c.Get(tt.name)
		var unknown *UnknownCounterError
		if !errors.As(err, &unknown) || unknown.Name != tt.name || !slices.Equal(unknown.Similar, tt.similar) {
			t.Errorf("%q: error %v, want one with %v", tt.name, err, tt.similar)
		}
	}
	if _, err := (Counters{}).Get("IcmpMsgInType8"); err == nil {
		t.Error("no counters at all: no error")
	}
}

// TestReadThisThread needs nothing but /proc. Others may use the network of this
// machine meanwhile.
func TestReadThisThread(t *testing.T) {
	before, err := ReadCounters(nil)
	if err != nil {
		t.Fatal(err)
	}
	after, err := ReadCounters(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"IpOutRequests", "TcpActiveOpens", "TcpExtTCPTimeouts", "IpExtOutOctets"} {
		if n, err := after.Since(before).Get(name); err != nil || n < 0 {
			t.Errorf("%s = %d, %v; want at least 0", name, n, err)
		}
	}
}

// runner runs functions in a new network namespace, on a thread of its own.
type runner chan func()

func (r runner) Do(f func() error) error {
	done := make(chan error)
	r <- func() { done <- f() }
	return <-done
}

func newRunner(t *testing.T) runner {
	t.Helper()
	r := make(runner)
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range r {
			f()
		}
	}()
	t.Cleanup(func() { close(r) })
	if err := <-ready; err != nil {
		testenv.Missing(t, "needs root: network namespace: "+err.Error())
	}
	return r
}

func TestReadOtherNamespace(t *testing.T) {
	r := newRunner(t)
	c, err := ReadCounters(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range c.Nonzero() {
		t.Errorf("%s = %d in a new namespace, want 0", name, c[name])
	}
	if err := r.Do(func() error {
		_, err := net.Dial("tcp4", "127.0.0.1:9") // lo is down
		if err == nil {
			return errors.New("connected over a device that is down")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	after, err := ReadCounters(r)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := after.Since(c).Get("IpOutNoRoutes"); err != nil || n < 1 {
		t.Errorf("IpOutNoRoutes = %d, %v; want at least 1", n, err)
	}
	failing := failingRunner{errors.New("gone")}
	if _, err := ReadCounters(failing); !errors.Is(err, failing.err) {
		t.Errorf("error %v, want that of the runner", err)
	}
}

type failingRunner struct{ err error }

func (f failingRunner) Do(func() error) error { return f.err }

func FuzzParseSNMP(f *testing.F) {
	for _, name := range []string{"6.1-snmp", "6.18-netstat"} {
		b, err := os.ReadFile("testdata/linux-" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add("Tcp: A\nTcp: -1\n")
	f.Fuzz(func(t *testing.T, s string) {
		_ = parseSNMP(s, Counters{})
	})
}

func FuzzParseSNMP6(f *testing.F) {
	f.Add("Ip6InReceives                   \t1\n")
	f.Fuzz(func(t *testing.T, s string) {
		c := Counters{}
		if parseSNMP6(s, c) == nil {
			for _, name := range c.Names() {
				if strings.ContainsAny(name, " \t\n") {
					t.Errorf("name %q", name)
				}
			}
		}
	})
}

func ExampleCounters_Since() {
	before := Counters{"TcpOutSegs": 1000, "TcpRetransSegs": 1, "TcpExtTCPTimeouts": 0, "TcpRtoMin": 200}
	after := Counters{"TcpOutSegs": 1500, "TcpRetransSegs": 4, "TcpExtTCPTimeouts": 0, "TcpRtoMin": 200}
	diff := after.Since(before)
	for _, name := range diff.Nonzero() {
		fmt.Println(name, diff[name])
	}
	_, err := diff.Get("TCPTimeouts")
	fmt.Println(err)
	// Output:
	// TcpOutSegs 500
	// TcpRetransSegs 3
	// counter TCPTimeouts: this kernel has none of that name; similar are TcpExtTCPTimeouts
}
