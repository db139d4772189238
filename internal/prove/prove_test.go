package prove

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/kernelversion"
	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/tune"
	"github.com/tcplab/tcplab/internal/vm/guest"
	"github.com/tcplab/tcplab/internal/vm/vmtest"
	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M) {
	guest.Main()
	peers.Main()
	cell.Main()
	os.Exit(m.Run())
}

// bad has something to advise in every setting that can be proved.
var bad = tune.Settings{
	"net.ipv4.tcp_rmem": "4096 32768 131072", "net.ipv4.tcp_wmem": "4096 16384 65536", "net.ipv4.tcp_window_scaling": "0", "net.ipv4.tcp_sack": "0",
	"net.core.somaxconn": "128", "net.ipv4.tcp_syncookies": "0", "net.ipv4.tcp_max_syn_backlog": "128", "net.ipv4.ip_local_port_range": "32768 33000",
	"net.ipv4.tcp_tw_reuse": "0", "net.ipv4.tcp_max_tw_buckets": "1000", "net.ipv4.tcp_keepalive_time": "7200",
	"net.ipv4.tcp_notsent_lowat": "4294967295", "net.ipv4.tcp_mem": "100 200 300",
}

var path = tune.Path{
	Rate: 20e6, RTT: 100 * time.Millisecond, Loss: 0.005, Connections: 300, New: 20, Idle: 5 * time.Second, Forgets: 5 * time.Minute, NoICMP: true,
}

func advised(t *testing.T) tune.Report {
	t.Helper()
	version, err := kernelversion.Parse("6.1.0")
	if err != nil {
		t.Fatal(err)
	}
	report, err := tune.Advise(bad, version, path)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// Every advice has an experiment, whose two measurements differ in that setting, or a reason why it has none.
func TestEachAdviceHasAnExperiment(t *testing.T) {
	g := NewWithT(t)
	report := advised(t)
	seen := map[string]bool{}
	for _, a := range report.Advice {
		e, err := experimentFor(report, a)
		seen[a.Key] = true
		if unproved[a.Key] != "" {
			g.Expect(errors.Is(err, errNoProof)).To(BeTrue(), a.Key)
			continue
		}
		g.Expect(err).NotTo(HaveOccurred(), a.Key)
		g.Expect(e.now.String()).NotTo(Equal(e.then.String()), a.Key)
		g.Expect(e.now.Validate()).To(Succeed(), a.Key)
		g.Expect(e.then.Validate()).To(Succeed(), a.Key)
	}
	for key := range kinds {
		g.Expect(seen[key]).To(BeTrue(), "no advice about %s is tried here", key)
	}
	_, err := experimentFor(report, tune.Advice{Key: "net.ipv4.tcp_fin_timeout"})
	g.Expect(err).To(MatchError(errNoProof))
}

// What is too much for a guest is made smaller, load and setting alike.
func TestScale(t *testing.T) {
	g := NewWithT(t)
	g.Expect(smaller("4096 131072 6291456", 50)).To(Equal("4096 125829 125829"))
	g.Expect(smaller("4096 16384 16777216", 2)).To(Equal("4096 16384 8388608"))
	g.Expect(smaller("4096 16384 16384", 100)).To(Equal("4096 4096 4096"))
	_, err := smaller("x", 2)
	g.Expect(err).To(MatchError(errNoProof))
	g.Expect([]int{part(1), part(400), part(401), part(20_000)}).To(Equal([]int{1, 1, 2, 50}))
	g.Expect(over("4096", 50)).To(Equal("81"))
	g.Expect(portsIn("32768 60999")).To(Equal(28232))
	_, err = portsIn("9 1")
	g.Expect(err).To(MatchError(errNoProof))
}

// Each setting brings what its advice says.
func TestProofsInGuests(t *testing.T) {
	vmtest.NeedGuests(t)
	g := NewWithT(t)
	report := advised(t)
	var log strings.Builder
	g.Expect(Prove(t.Context(), runner.SessionOptions{Clock: runner.Virtual, Log: &log}, runner.RunOptions{Root: t.TempDir(), Seed: 1}, &report)).To(Succeed(), log.String())
	for _, a := range report.Advice {
		g.Expect(a.Proof).NotTo(BeNil(), a.Key)
		t.Logf("%s: %s", a.Key, a.Proof.Text)
		if unproved[a.Key] != "" {
			g.Expect(a.Proof.Measured).To(BeEmpty(), a.Key)
			continue
		}
		g.Expect(a.Proof.Measured).NotTo(BeEmpty(), "%s: %s", a.Key, a.Proof.Text)
		expected, ok := gains[a.Key]
		g.Expect(ok).To(BeTrue(), a.Key)
		g.Expect(expected(a.Proof.Now, a.Proof.Then)).To(BeTrue(), "%s: %s", a.Key, a.Proof.Text)
	}
}

// gains are what is to be seen of each setting, by its own arithmetic.
var gains = map[string]func(now, then float64) bool{
	// 65,535 bytes each 100 ms are 5.2 Mbit/s of 19.1.
	"net.ipv4.tcp_window_scaling": func(now, then float64) bool { return now < 5.3 && then > 2*now },
	// 64 kB of 131,072 bytes are the window: 5.2 Mbit/s.
	"net.ipv4.tcp_rmem": func(now, then float64) bool { return now < 5.5 && then > 2*now },
	// 65,536 bytes hold some 28 segments with the kernel's own: 3.3 Mbit/s.
	"net.ipv4.tcp_wmem":                  func(now, then float64) bool { return now < 5.3 && then > 2*now },
	"net.ipv4.tcp_sack":                  func(now, then float64) bool { return then > now },
	"net.ipv4.tcp_congestion_control":    func(now, then float64) bool { return then > 2*now },
	"net.ipv4.tcp_slow_start_after_idle": func(now, then float64) bool { return then < now-0.1 }, // a round trip and more
	"net.ipv4.tcp_mtu_probing":           func(now, then float64) bool { return now == 60 && then < 30 },
	"net.ipv4.tcp_notsent_lowat":         func(now, then float64) bool { return now > 2*then && then < 200_000 },
	// Those that find the queue full come back after a second.
	"net.core.somaxconn":           func(now, then float64) bool { return now > 1 && then < 1 },
	"net.ipv4.tcp_max_syn_backlog": func(now, then float64) bool { return now > 1 && then < 1 },
	"net.ipv4.ip_local_port_range": func(now, then float64) bool { return now > 0 && then == 0 },
	"net.ipv4.tcp_tw_reuse":        func(now, then float64) bool { return now > 0 && then == 0 },
	"net.ipv4.tcp_max_tw_buckets":  func(now, then float64) bool { return now > 0 && then == 0 },
	"net.ipv4.tcp_keepalive_time":  func(now, then float64) bool { return now == 0 && then == 1 },
}
