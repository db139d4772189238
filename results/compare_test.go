package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	. "github.com/onsi/gomega"
)

// compared puts one record and its files into each of two runs and returns what Compare says, a line a difference.
func compared(t *testing.T, a, b *Record, filesA, filesB map[string]string) []string {
	t.Helper()
	runA, runB := newRun(t, "a"), newRun(t, "b")
	put(t, runA, a, filesA)
	put(t, runB, b, filesB)
	diffs, err := Compare(runA, runB)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	var lines []string
	for _, d := range diffs {
		lines = append(lines, strings.Split(d.String(), "\n")...)
	}
	return lines
}

func TestCompareSame(t *testing.T) {
	g := NewWithT(t)
	a, b := full(t), full(t)
	b.Host.Wall, b.Host.CPU, b.Host.Started = 1, "another", time.Time{}
	evidence := map[string]string{"client.pcapng": "bytes", "peers/dial.log": "", "qemu.log": "1 s"}
	other := map[string]string{"client.pcapng": "bytes", "peers/dial.log": "", "qemu.log": "2 s"}
	g.Expect(compared(t, a, b, evidence, other)).To(BeEmpty())
	b.Host = nil
	delete(other, "qemu.log")
	g.Expect(compared(t, a, b, evidence, other)).To(BeEmpty())
}

func TestCompareRecords(t *testing.T) {
	dir := "handshake/" + Slug(full(t).Scenario) + "/"
	evidence := map[string]string{"client.pcapng": "", "peers/dial.log": "", "qemu.log": ""}
	for _, tc := range []struct {
		name  string
		spoil func(*Record)
		want  []string
	}{
		{"a counter", func(r *Record) { r.Counters[0].Diff["TcpExtTCPSynRetrans"] = 7 },
			[]string{"counters[0].diff.TcpExtTCPSynRetrans 6 != 7"}},
		{"a counter that did not move", func(r *Record) { delete(r.Counters[0].Diff, "TcpAttemptFails") },
			[]string{"counters[0].diff.TcpAttemptFails 1 != absent"}},
		{"a counter that moved", func(r *Record) { r.Counters[1].Diff = map[string]int64{"TcpInSegs": 3} },
			[]string{"counters[1].diff.TcpInSegs absent != 3"}},
		{"the last digit", func(r *Record) { r.Metrics[1].Value = 129.512000004 },
			[]string{"metrics[1].value 129.512000003 != 129.512000004"}},
		{"a number above 2^53", func(r *Record) {
			r.Queues[0].Bytes = 1<<63 + 1
			r.Peers[1].Result = json.RawMessage("9007199254740993")
		},
			[]string{`peers[1].result {"accepted":0} != 9007199254740993`, "    queues[0].bytes 518 != 9223372036854775809"}},
		{"a sysctl", func(r *Record) { r.Topology.Hosts[0].Sysctls["net.ipv4.tcp_ecn"] = "1" },
			[]string{`topology.hosts[0].sysctls["net.ipv4.tcp_ecn"] "0" != "1"`}},
		{"another length", func(r *Record) { r.Labels = r.Labels[:1] },
			[]string{`labels[1] "slow" != absent`}},
		{"the order of members", func(r *Record) {
			r.Impairments[0].Asked = json.RawMessage(`{"delay_ns": 20000000, "loss": "33.3333 %"}`)
		},
			[]string{`impairments[0].asked.keys_unsorted ["loss" "delay_ns"] != ["delay_ns" "loss"]`}},
		{"how a number is written", func(r *Record) { r.Peers[1].Result = json.RawMessage(`{"accepted": 0.0}`) },
			[]string{`peers[1].result.accepted 0 != 0.0`}},
		{"a long text", func(r *Record) { r.Failure.Message += " seven" },
			[]string{`failure.message ... equal\n    <int>: 6" != ... equal\n    <int>: 6 seven"`}},
		{"verdict and failure", func(r *Record) { r.Verdict = Passed; r.Failure = nil },
			[]string{`verdict "failed" != "passed"`, `    failure {"message":"SYN retransmissions seen on the wire\nExpecte... != absent`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := NewWithT(t)
			b := full(t)
			tc.spoil(b)
			tc.want[0] = dir + "record.json: " + tc.want[0]
			g.Expect(compared(t, full(t), b, evidence, evidence)).To(Equal(tc.want))
		})
	}
}

func TestCompareBoundsTheList(t *testing.T) {
	g := NewWithT(t)
	a, b := small("s", "t"), small("s", "t")
	for i := range 25 {
		a.Labels = append(a.Labels, fmt.Sprint(i))
	}
	lines := compared(t, a, b, nil, nil)
	g.Expect(lines).To(HaveLen(maxValues + 1))
	g.Expect(lines[maxValues]).To(Equal("    and 15 more"))
}

func TestCompareFiles(t *testing.T) {
	g := NewWithT(t)
	a, b := small("s", "t"), small("s", "t")
	a.Artefacts = []Artefact{{Path: "lost", SHA256: hash("0")}}
	b.Artefacts = a.Artefacts
	g.Expect(compared(t, a, b,
		map[string]string{"same": "x", "byte": "0123456789", "longer": "abc", "only-a": "", "sub/empty": ""},
		map[string]string{"same": "x", "byte": "01234_6789", "longer": "abcd", "only-b": "", "sub/empty": "?"},
	)).To(Equal([]string{
		"s/t/byte: differs from byte 5 (0x5) on; 10 and 10 bytes",
		"s/t/longer: differs from byte 3 (0x3) on; 3 and 4 bytes",
		"s/t/lost: in neither run",
		"s/t/only-a: only in the first run",
		"s/t/only-b: only in the second run",
		"s/t/sub/empty: differs from byte 0 (0x0) on; 0 and 1 bytes",
	}))
}

func TestCompareScenarios(t *testing.T) {
	g := NewWithT(t)
	a, b := newRun(t, "a"), newRun(t, "b")
	put(t, a, small("s", "gone"), map[string]string{"x": ""})
	put(t, a, small("s", "same"), nil)
	put(t, b, small("s", "same"), nil)
	put(t, b, small("s", "new"), nil)
	for _, run := range []*Run{a, b} {
		g.Expect(os.MkdirAll(run.Dir("s", "killed"), 0o755)).To(Succeed())
	}
	g.Expect(os.WriteFile(filepath.Join(a.Path(), "junit.xml"), nil, 0o644)).To(Succeed())
	diffs, err := Compare(a, b)
	g.Expect(err).NotTo(HaveOccurred())
	var lines []string
	for _, d := range diffs {
		lines = append(lines, d.String())
	}
	g.Expect(lines).To(Equal([]string{
		"s/gone/record.json: only in the first run",
		"s/gone/x: only in the first run",
		"s/killed/record.json: in neither run",
		"s/new/record.json: only in the second run",
	}))
}

func TestCompareRefuses(t *testing.T) {
	t.Run("two empty runs", func(t *testing.T) {
		_, err := Compare(newRun(t, "a"), newRun(t, "b"))
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring("has a scenario")))
	})
	t.Run("a record that cannot be read", func(t *testing.T) {
		g := NewWithT(t)
		a, b := newRun(t, "a"), newRun(t, "b")
		put(t, a, small("s", "t"), nil)
		dir := put(t, b, small("s", "t"), nil)
		g.Expect(os.WriteFile(filepath.Join(dir, FileName), []byte("{"), 0o644)).To(Succeed())
		_, err := Compare(a, b)
		g.Expect(err).To(MatchError(ContainSubstring(dir)))
	})
	t.Run("a link to somewhere else", func(t *testing.T) {
		g := NewWithT(t)
		a, b := newRun(t, "a"), newRun(t, "b")
		for _, run := range []*Run{a, b} {
			dir := put(t, run, small("s", "t"), nil)
			g.Expect(os.Symlink("/etc/passwd", filepath.Join(dir, "x"))).To(Succeed())
		}
		_, err := Compare(a, b)
		g.Expect(err).To(MatchError(ContainSubstring("x: is not a regular file")))
	})
}

func FuzzCompare(f *testing.F) {
	f.Add([]byte(`{"a": [1, {"b": 2}], "host": 1}`), []byte(`{"a": [1, {"b": 3}], "host": 2}`))
	f.Add([]byte(`{"a": 1, "a": 2}`), []byte(`{"a": 2}`))
	f.Add([]byte("{\"\xf4\": 1}"), []byte("{\"\xa7\": 1}"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		// Compare gives it only what Parse has accepted: objects.
		var object map[string]json.RawMessage
		for _, data := range [][]byte{a, b} {
			if json.Unmarshal(data, &object) != nil || !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
				return
			}
		}
		if !utf8.Valid(a) || !utf8.Valid(b) {
			if _, same, err := compareRecords(a, b); same || !errors.Is(err, errNotUTF8) {
				t.Fatalf("%q and %q: same is %v, %v", a, b, same, err)
			}
			return
		}
		if d, same, err := compareRecords(a, a); err != nil || !same {
			t.Fatalf("%q differs from itself: %v, %v", a, d, err)
		}
		d, same, err := compareRecords(a, b)
		if err != nil {
			t.Fatal(err)
		}
		var compactA, compactB bytes.Buffer
		if json.Compact(&compactA, a) != nil || json.Compact(&compactB, b) != nil {
			t.Fatal("not JSON")
		}
		// A top-level host is left out, so only without one is the reverse true.
		hasHost := bytes.Contains(a, []byte("host")) || bytes.Contains(b, []byte("host")) || bytes.Contains(append(a, b...), []byte(`\`))
		if equal := bytes.Equal(compactA.Bytes(), compactB.Bytes()); equal && !same || !equal && same && !hasHost {
			t.Fatalf("%s and %s: same is %v", a, b, same)
		}
		_ = d.String()
	})
}
