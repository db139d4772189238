package results

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/golden"
)

func TestGoldenRecord(t *testing.T) {
	g := NewWithT(t)
	r := full(t)
	data, err := r.Encode()
	g.Expect(err).NotTo(HaveOccurred())
	golden.Compare(t, "record.json", data)

	back, err := Read(filepath.Join("testdata", "record.json"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(back.Dir()).To(Equal("testdata"))
	again, err := back.Encode()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(again)).To(Equal(string(data)), "what was read is written the same")

	g.Expect(back.Seed).To(Equal(r.Seed))
	g.Expect(back.Duration).To(Equal(r.Duration))
	g.Expect(back.Host.Started.Equal(r.Host.Started)).To(BeTrue())
	g.Expect(back.Counters[0]).To(Equal(r.Counters[0]))
	g.Expect(back.Metrics).To(Equal(r.Metrics))
}

func TestEncodeLeavesTheRecordAlone(t *testing.T) {
	g := NewWithT(t)
	r, same := full(t), full(t)
	_, err := r.Encode()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r).To(Equal(same))
}

func TestListsAreNeverNull(t *testing.T) {
	g := NewWithT(t)
	r := small("s", "t")
	r.Topology = &Topology{Hosts: []Host{{}}}
	r.Impairments = []Impairment{{}}
	r.Captures = []Capture{{File: "a"}}
	r.Counters = []CounterDiff{{}}
	r.Host = &HostPart{}
	data, err := r.Encode()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(data)).NotTo(ContainSubstring("null"))
}

func TestValidateNamesTheFault(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(*Record)
		want  string
	}{
		{"schema", func(r *Record) { r.Schema = 7 }, `schema 7: unknown schema version; leave it 0 or set it to 4`},
		{"no suite", func(r *Record) { r.Suite = "" }, `suite is empty`},
		{"no scenario", func(r *Record) { r.Scenario = "" }, `scenario is empty`},
		{"verdict", func(r *Record) { r.Verdict = "ok" }, `verdict "ok": allowed are "passed", "failed", "skipped"`},
		{"clock", func(r *Record) { r.Clock = "" }, `clock "": allowed are "virtual" and "real"`},
		{"duration", func(r *Record) { r.Duration = -1 }, `duration_ns -1ns: must not be negative`},
		{"hash of inputs", func(r *Record) { r.Inputs.KernelSHA256 = "AB" }, `inputs.kernel_sha256 "AB": must be 64 lower-case hex digits`},
		{"asked", func(r *Record) { r.Impairments[0].Asked = json.RawMessage("{") }, `impairments[0].asked is not JSON`},
		{"result", func(r *Record) { r.Peers[1].Result = json.RawMessage("NaN") }, `peers[1].result (listen) is not JSON`},
		{"zero counter", func(r *Record) { r.Counters[0].Diff["TcpInSegs"] = 0 }, `counters[0].diff.TcpInSegs (client) is 0`},
		{"NaN", func(r *Record) { r.Metrics[0].Value = math.NaN() }, `metrics[0].value (SYN retransmissions) is NaN: must be a finite number`},
		{"Inf", func(r *Record) { r.Metrics[1].Value = math.Inf(-1) }, `metrics[1].value (time to ETIMEDOUT) is -Inf`},
		{"no margin", func(r *Record) { r.Metrics[1].Bounds.Margin = math.Inf(1) }, `metrics[1].bounds.margin (time to ETIMEDOUT) is +Inf`},
		{"empty bounds", func(r *Record) { r.Metrics[0].Bounds = within(7, 6, 0, 0, "") }, `metrics[0].bounds (SYN retransmissions): lower 7 is above upper 6`},
		{"a check", func(r *Record) { r.Checks = []Metric{{Name: "RTT", Of: -1}} }, `checks[0].of (RTT) is -1: must not be negative`},
		{"capture", func(r *Record) { r.Captures[0].File = "/etc/passwd" }, `captures[0].file: path "/etc/passwd": must stay inside the record's folder`},
		{"artefact", func(r *Record) { r.Artefacts[0].Path = "../x" }, `artefacts[0].path: path "../x": must stay inside`},
		{"listed twice", func(r *Record) { r.Host.Artefacts[0].Path = "client.pcapng" }, `host.artefacts[0].path "client.pcapng": is listed twice`},
		{"size", func(r *Record) { r.Artefacts[0].Size = -1 }, `artefacts[0].size -1: must not be negative`},
		{"hash", func(r *Record) { r.Artefacts[0].SHA256 = hash("A") }, `artefacts[0].sha256 "AAAA`},
		{"year", func(r *Record) { r.Host.Started = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, `host.started: year 10000`},
		{"wall", func(r *Record) { r.Host.Wall = -5 }, `host.wall_ns -5ns`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := NewWithT(t)
			r := full(t)
			tc.spoil(r)
			dir := t.TempDir()
			g.Expect(r.Write(dir)).To(MatchError(ContainSubstring(tc.want)))
			g.Expect(os.ReadDir(dir)).To(BeEmpty(), "nothing is written")
		})
	}
}

func TestValidateListsEveryFault(t *testing.T) {
	g := NewWithT(t)
	err := (&Record{}).Validate()
	g.Expect(err).To(MatchError(And(ContainSubstring("suite"), ContainSubstring("scenario"), ContainSubstring("verdict"), ContainSubstring("clock"))))
}

func TestCheckPath(t *testing.T) {
	for path, ok := range map[string]bool{
		"client.pcapng": true, "a/b/c.log": true, "a b": true, "..a": true, "ä": true, "sub/record.json": true,
		"": false, ".": false, "..": false, "/a": false, "../a": false, "a/../b": false, "a/../../b": false, "./a": false,
		"a//b": false, "a/": false, `a\b`: false, "a\nb": false, "a\x00b": false, "a\xffb": false,
		"record.json": false, ".record.json123": false,
	} {
		if err := checkPath(path); (err == nil) != ok {
			t.Errorf("checkPath(%q) = %v, want ok = %v", path, err, ok)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	valid, err := full(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, data, want string }{
		{"nothing", "", "not a record: unexpected end of JSON input"},
		{"half a record", string(valid[:len(valid)/2]), "unexpected end of JSON input"},
		{"something after it", string(valid) + "{}", "after top-level value"},
		{"an array", "[]", "not a record"},
		{"another file", `{"name": "tcplab"}`, `not a record: it has no field "schema"`},
		{"a newer schema", `{"schema": 5, "verdict": {"new": "shape"}}`, "unknown schema version 5: only version 4 can be read"},
		{"an older schema", `{"schema": 2}`, "unknown schema version 2: only version 4 can be read"},
		{"schema zero", `{"schema": 0}`, "unknown schema version 0"},
		{"a bad path", strings.Replace(string(valid), `"peers/dial.log"`, `"../../dial.log"`, 1), "must stay inside"},
		{"a bad duration", strings.Replace(string(valid), `129512000003`, `"2m9.512000003s"`, 1), "cannot unmarshal string"},
		{"a seed that is a number", strings.Replace(string(valid), `"42"`, `42`, 1), "unquoted value into uint64"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := parse(strings.NewReader(tc.data))
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(tc.want)))
		})
	}
	_, err = parse(strings.NewReader(`{"schema": 99}`))
	NewWithT(t).Expect(errors.Is(err, ErrSchema)).To(BeTrue())
}

func TestParseIgnoresNewFields(t *testing.T) {
	g := NewWithT(t)
	r, err := parse(strings.NewReader(`{"schema": 4, "suite": "s", "scenario": "t", "verdict": "passed", "clock": "real", "colour": "blue"}`))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.Suite).To(Equal("s"))
}

func TestReadErrorsNameTheFile(t *testing.T) {
	g := NewWithT(t)
	name := filepath.Join(t.TempDir(), FileName)
	_, err := Read(name)
	g.Expect(err).To(MatchError(fs.ErrNotExist))
	g.Expect(os.WriteFile(name, []byte(`{"schema": 99}`), 0o644)).To(Succeed())
	_, err = Read(name)
	g.Expect(err).To(And(MatchError(ErrSchema), MatchError(ContainSubstring(name))))
}

func TestRaw(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Raw("a -> b & <c>")).To(BeEquivalentTo(`"a -> b & <c>"`))
	_, err := Raw(math.NaN())
	g.Expect(err).To(MatchError(ContainSubstring("encode float64: json: unsupported value: NaN")))
}

func TestWriteReplaces(t *testing.T) {
	g := NewWithT(t)
	dir := filepath.Join(t.TempDir(), "not", "yet", "there")
	r := small("s", "t")
	g.Expect(r.Write(dir)).To(Succeed())
	r.Verdict = Failed
	g.Expect(r.Write(dir)).To(Succeed())
	g.Expect(Read(filepath.Join(dir, FileName))).To(HaveField("Verdict", Failed))
	entries, err := os.ReadDir(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(HaveLen(1), "no temporary file is left")
	data, err := os.ReadFile(filepath.Join(dir, FileName))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(data)).To(HaveSuffix("}\n"))
}

// The test binary starts itself as a writer, which the parent then treats badly.
const writerEnv = "RESULTS_TEST_WRITER"

func TestMain(m *testing.M) {
	switch os.Getenv(writerEnv) {
	case "":
		os.Exit(m.Run())
	case "endless":
		endlessWriter(os.Args[1])
	case "no room":
		noRoomWriter(os.Args[1])
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// big returns a long record with n in every part of it, so that a mixture of two would show.
func big(n int) *Record {
	r := small("s", "t")
	r.Reason = strings.Repeat(fmt.Sprintf("%09d ", n), 20_000)
	r.Seed = uint64(n)
	return r
}

func endlessWriter(dir string) {
	for n := 1; ; n++ {
		check(big(n).Write(dir))
		_, err := fmt.Println(n)
		check(err)
	}
}

// noRoomWriter meets EFBIG in the middle of the file, as it would ENOSPC on a full disk.
func noRoomWriter(dir string) {
	signal.Ignore(syscall.SIGXFSZ)
	check(unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1000, Max: 1000}))
	check(big(2).Write(dir))
}

func writer(t *testing.T, kind, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, dir)
	cmd.Env = append(os.Environ(), writerEnv+"="+kind)
	return cmd
}

func TestKilledWriterLeavesAWholeRecordOrNone(t *testing.T) {
	g := NewWithT(t)
	for round := range 8 {
		dir := t.TempDir()
		cmd := writer(t, "endless", dir)
		out, err := cmd.StdoutPipe()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(cmd.Start()).To(Succeed())
		// From here on it writes without a pause, so the kill falls somewhere into a write.
		for lines := bufio.NewScanner(out); round > 0 && lines.Scan(); {
			if lines.Text() == fmt.Sprint(round) {
				break
			}
		}
		g.Expect(cmd.Process.Kill()).To(Succeed())
		_, err = io.Copy(io.Discard, out)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(cmd.Wait()).To(MatchError("signal: killed"))

		r, err := Read(filepath.Join(dir, FileName))
		if round == 0 && errors.Is(err, fs.ErrNotExist) {
			continue // killed before the first was complete
		}
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(r.Reason == big(int(r.Seed)).Reason).To(BeTrue(), "the record is one that was written, whole")
		g.Expect(Artefacts(dir)).To(BeEmpty(), "what the writer left unfinished is no artefact")
	}
}

func TestFullDiskLeavesTheOldRecord(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(big(1).Write(dir)).To(Succeed())
	out, err := writer(t, "no room", dir).CombinedOutput()
	g.Expect(err).To(HaveOccurred())
	g.Expect(string(out)).To(And(ContainSubstring("write record "+filepath.Join(dir, FileName)), ContainSubstring("file too large")))
	g.Expect(Read(filepath.Join(dir, FileName))).To(HaveField("Seed", uint64(1)))
	entries, err := os.ReadDir(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(HaveLen(1), "the temporary file is removed")
}

// endless is a record that does not end.
type endless struct{ begun bool }

func (e *endless) Read(p []byte) (int, error) {
	if !e.begun {
		e.begun = true
		return copy(p, `{"schema": 4, "labels": [0`), nil
	}
	return copy(p, strings.Repeat(",0", 2048)), nil
}

func TestParseIsBounded(t *testing.T) {
	_, err := parse(&endless{})
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("more than 16777216 bytes")))
}

func FuzzParse(f *testing.F) {
	data, err := full(f).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"schema": 4, "suite": "s", "scenario": "t", "verdict": "passed", "clock": "real", "host": {"started": "9999-12-31T23:59:59-01:00"}}`))
	f.Add([]byte(`{"schema": 4, "suite": "s", "scenario": "t", "verdict": "passed", "clock": "real", "peers": [{"config": null, "result": [1e999]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parse(bytes.NewReader(data))
		if err != nil {
			return
		}
		first, err := r.Encode()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		back, err := parse(bytes.NewReader(first))
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, first)
		}
		second, err := back.Encode()
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("written differently the second time (%v):\n%s\n%s", err, first, second)
		}
	})
}
