package results

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/netns/netdev"
)

func raw(t testing.TB, v any) []byte {
	t.Helper()
	r, err := Raw(v)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func hash(digit string) string { return strings.Repeat(digit, 64) }

// full returns a record with every field set.
func full(t testing.TB) *Record {
	return &Record{
		Schema:   SchemaVersion,
		Suite:    "handshake",
		Scenario: "A SYN that nobody answers is retransmitted with exponential backoff until ETIMEDOUT",
		Labels:   []string{"virtual-time", "slow"},
		Verdict:  Failed,
		Failure: &Failure{
			Message:  "SYN retransmissions seen on the wire\nExpected\n    <int>: 5\nto equal\n    <int>: 6",
			Location: "scenarios/handshake/timeout_test.go:41",
		},
		Reason: "",
		Kernel: Uname{Release: "6.1.0-40-amd64", Version: "#1 SMP PREEMPT_DYNAMIC Debian 6.1.153-1 (2025-09-20)", Machine: "x86_64"},
		Clock:  ClockVirtual,
		Seed:   18446744073709551615,
		Inputs: Inputs{
			QEMUVersion: "7.2.19", KernelSHA256: hash("a"), InitramfsSHA256: hash("b"), CommandLineSHA256: hash("c"), Seed: 42,
		},
		Duration: 129*time.Second + 512*time.Millisecond + 3,
		Topology: &Topology{
			Kind: "routed",
			Hosts: []Host{
				{Name: "client", Addresses: []string{"10.0.0.1/24", "fd00::1/64"}, Sysctls: map[string]string{
					"net.ipv4.tcp_syn_retries": "6", "net.ipv4.tcp_ecn": "0",
				}},
				{Name: "router", Addresses: []string{"10.0.0.254/24", "10.0.1.254/24"}},
				{Name: "server", Addresses: []string{"10.0.1.1/24"}},
			},
			Links: []Link{
				{Ends: [2]string{"client/eth0", "router/eth0"}, MTU: 1500},
				{Ends: [2]string{"router/eth1", "server/eth0"}, MTU: 1500, Offload: true},
			},
		},
		Impairments: []Impairment{
			{End: "router/eth1", Direction: "client -> server", Asked: raw(t, struct {
				Loss  string `json:"loss"`
				Delay int    `json:"delay_ns"`
			}{"33.3333 %", 20_000_000}), Applied: raw(t, map[string]any{"loss": 0.33333300008, "delay_ns": 20_000_000}),
				Notes: []string{"loss: 33.3333 % is 1431654336 / 2^32 in the kernel"}},
			{At: time.Second, End: "router/eth1", Direction: "client -> server"},
		},
		Peers: []Peer{
			{Name: "dial", Host: "client", Program: "echo", Config: raw(t, map[string]any{"address": "10.0.1.1:7"}), Error: "dial tcp 10.0.1.1:7: connect: connection timed out"},
			{Name: "listen", Host: "server", Program: "accept -n 1", Result: raw(t, map[string]any{"accepted": 0})},
		},
		Counters: []CounterDiff{
			{Host: "client", Diff: map[string]int64{"TcpExtTCPSynRetrans": 6, "TcpExtTCPTimeouts": 7, "TcpAttemptFails": 1, "TcpOutSegs": 1}},
			{Host: "server"},
		},
		Queues:   []Queue{{End: "router/eth1", Kind: "netem", Stats: netdev.Stats{Bytes: 518, Packets: 7, Drops: 2, Overlimits: 1, Backlog: 74, Length: 1}}},
		Captures: []Capture{{File: "client.pcapng", Interfaces: []CaptureInterface{{End: "client/eth0", Packets: 7, Dropped: 0}}}},
		Metrics: []Metric{
			{Name: "SYN retransmissions", Value: 6, Whole: true, Bounds: within(6, 6, 1, .5, "net.ipv4.tcp_syn_retries")},
			{
				Name: "time to ETIMEDOUT", Value: 129.512000003, Unit: "s",
				Bounds: within(127, 143, 2.512000003, .1570000001875, "2^7 - 1 times the initial RTO of 1 s (RFC 6298, 2.1), timers at most 12.5 % late"),
			},
		},
		Artefacts: []Artefact{{Path: "client.pcapng", Size: 1032, SHA256: hash("d")}, {Path: "peers/dial.log", Size: 0, SHA256: hash("e")}},
		Host: &HostPart{
			Started:   time.Date(2026, 1, 2, 4, 5, 6, 7, time.FixedZone("", 3600)),
			Wall:      6210 * time.Millisecond,
			Kernel:    Uname{Release: "6.18.0", Version: "#1 SMP", Machine: "x86_64"},
			CPU:       "AMD EPYC",
			CPUs:      2,
			Memory:    8 << 30,
			Artefacts: []Artefact{{Path: "qemu.log", Size: 12, SHA256: hash("f")}},
		},
	}
}

// small returns a valid record with nothing but what is needed.
func small(suite, scenario string) *Record {
	return &Record{Suite: suite, Scenario: scenario, Verdict: Passed, Clock: ClockVirtual}
}

func newRun(t testing.TB, id string) *Run {
	t.Helper()
	run, err := Create(t.TempDir(), id)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// put writes a record and files into its folder.
func put(t testing.TB, run *Run, r *Record, files map[string]string) string {
	t.Helper()
	g := NewWithT(t)
	dir := run.Dir(r.Suite, r.Scenario)
	g.Expect(r.Write(dir)).To(Succeed())
	for name, text := range files {
		g.Expect(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)).To(Succeed())
	}
	return dir
}
