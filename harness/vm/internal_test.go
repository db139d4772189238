package vm

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/u-root/u-root/pkg/cpio"

	"github.com/tcplab/tcplab/harness/vm/guest"
)

func TestModuleName(t *testing.T) {
	g := NewWithT(t)
	for path, want := range map[string]string{
		"kernel/net/sched/sch_netem.ko":        "sch_netem",
		"kernel/net/netfilter/nft-compat.ko":   "nft_compat",
		"kernel/drivers/net/veth.ko.xz":        "veth",
		"kernel/drivers/net/ifb.ko.zst":        "ifb",
		"kernel/drivers/net/dummy.ko.gz":       "dummy",
		"modules.builtin":                      "",
		"kernel/sound/soundcore.ko.unexpected": "",
	} {
		name, ok := moduleName(path)
		g.Expect(ok).To(Equal(want != ""), path)
		if ok {
			g.Expect(name).To(Equal(want))
		}
	}
}

func TestArchiveIsReproducible(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	make := func() []byte {
		g.Expect(os.WriteFile(filepath.Join(dir, "b"), []byte("bb"), 0o600)).To(Succeed())
		g.Expect(os.MkdirAll(filepath.Join(dir, "sub"), 0o700)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(dir, "sub", "a"), []byte("a"), 0o755)).To(Succeed())
		var out bytes.Buffer
		a := newArchive(&out)
		g.Expect(a.addTree("/data/tree", dir)).To(Succeed())
		g.Expect(a.addContent("/data/more", []byte("more"), 0o644)).To(Succeed())
		g.Expect(a.close()).To(Succeed())
		g.Expect(os.RemoveAll(filepath.Join(dir, "sub"))).To(Succeed())
		return out.Bytes()
	}
	first := make()
	time.Sleep(1100 * time.Millisecond) // another second: times of files have one second in cpio
	g.Expect(make()).To(Equal(first))

	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(first)))
	g.Expect(err).NotTo(HaveOccurred())
	var names []string
	for _, record := range records {
		names = append(names, record.Name)
		g.Expect(record.MTime).To(BeZero())
		g.Expect(record.UID + record.GID).To(BeZero())
	}
	g.Expect(names).To(Equal([]string{"data", "data/tree", "data/tree/b", "data/tree/sub", "data/tree/sub/a", "data/more"}))
}

func TestProgramsLibrariesComeInOneOrder(t *testing.T) {
	g := NewWithT(t)
	program, err := exec.LookPath("git") // links to several libraries
	if err != nil {
		t.Skip("needs git, a dynamically linked program")
	}
	pack := func() []byte {
		var out bytes.Buffer
		a := newArchive(&out)
		g.Expect(a.addProgram("/program", program)).To(Succeed())
		g.Expect(a.close()).To(Succeed())
		return out.Bytes()
	}
	first := pack()
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(first)))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(records)).To(BeNumerically(">", 3))
	for range 10 {
		g.Expect(bytes.Equal(pack(), first)).To(BeTrue())
	}
}

// stream is what a guest would send.
func stream(t testing.TB, entries ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := 0; i < len(entries); i += 2 {
		content := entries[i+1]
		header := &tar.Header{Typeflag: tar.TypeReg, Name: entries[i], Size: int64(len(content)), Mode: 0o644}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestReadResults(t *testing.T) {
	g := NewWithT(t)
	whole := stream(t, guest.ReadyEntry, "", guest.ArtefactPrefix+"a/b", "content", guest.StatusEntry, `{"ExitCode":3}`)
	dir := t.TempDir()
	status, err := readResults(bytes.NewReader(whole), dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(status.ExitCode).To(Equal(3))
	g.Expect(os.ReadFile(filepath.Join(dir, "a", "b"))).To(Equal([]byte("content")))

	// A guest that died in the middle of sending leaves what was whole, and no status.
	for _, length := range []int{0, 512, 1024 + 3, len(whole) - 1536} {
		dir := t.TempDir()
		_, err := readResults(bytes.NewReader(whole[:length]), dir)
		g.Expect(err).To(MatchError(ErrNoStatus), "cut at %d", length)
		if length < 1536 {
			g.Expect(filepath.Join(dir, "a", "b")).NotTo(BeAnExistingFile())
		}
	}

	_, err = readResults(bytes.NewReader(stream(t, guest.ArtefactPrefix+"../evil", "x")), t.TempDir())
	g.Expect(err).To(MatchError(ContainSubstring("leads out of")))
}

func FuzzReadResults(f *testing.F) {
	f.Add(stream(f, guest.ReadyEntry, "", guest.ArtefactPrefix+"a", "x", guest.StatusEntry, `{}`))
	f.Fuzz(func(t *testing.T, sent []byte) {
		outside := t.TempDir()
		inside := filepath.Join(outside, "inside")
		_, _ = readResults(bytes.NewReader(sent), inside)
		entries, err := os.ReadDir(outside)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) > 1 {
			t.Errorf("wrote outside: %v", entries)
		}
	})
}

func TestDiagnose(t *testing.T) {
	g := NewWithT(t)
	const panicked = "[ 1.0] booting\n[ 2.0] Kernel panic - not syncing: sysrq\n"
	const starved = "[ 1.0] Out of memory: Killed process 12 (program)\n"
	for _, c := range []struct {
		name    string
		ended   ending
		status  *guest.Status
		console string
		want    error
	}{
		{"well", ending{}, &guest.Status{}, "", nil},
		{"failed", ending{}, &guest.Status{ExitCode: 1}, "", nil},
		{"panic", ending{}, nil, panicked, ErrPanic},
		{"panic after its status", ending{}, &guest.Status{}, panicked, ErrPanic},
		{"starved", ending{}, &guest.Status{ExitCode: -1, Signal: "killed"}, starved, ErrOutOfMemory},
		{"starved and panicked", ending{}, nil, starved + panicked, ErrOutOfMemory},
		{"starved a part, and coped", ending{}, &guest.Status{}, starved, nil},
		{"too long", ending{kind: ErrTimeout}, nil, "", ErrTimeout},
		{"never ready", ending{kind: ErrNotReady}, nil, "", ErrNotReady},
		{"gone", ending{detail: "qemu: exit status 1: no space"}, nil, "", ErrNoStatus},
		{"no program", ending{}, &guest.Status{Error: "exec format error"}, "", ErrInit},
	} {
		err := diagnose(c.ended, c.status, []byte(c.console))
		if c.want == nil {
			g.Expect(err).NotTo(HaveOccurred(), c.name)
			continue
		}
		var failure *GuestError
		g.Expect(errors.As(err, &failure)).To(BeTrue(), c.name)
		g.Expect(err).To(MatchError(c.want), c.name)
		g.Expect(err.Error()).To(ContainSubstring(c.ended.detail))
	}
}

func TestLastLines(t *testing.T) {
	g := NewWithT(t)
	g.Expect(lastLines([]byte("\r\n"), 3)).To(BeEmpty())
	g.Expect(lastLines([]byte("1\r\n2\r\n3\r\n4\r\n"), 2)).To(Equal([]string{"3", "4"}))
	g.Expect(strings.Join(lastLines([]byte("only"), 9), "")).To(Equal("only"))
}

// A monitor finds the answer to its command among greetings and events, and tells of an error.
func TestMonitor(t *testing.T) {
	g := NewWithT(t)
	ours, theirs, err := newMonitor()
	g.Expect(err).NotTo(HaveOccurred())
	defer ours.close()
	go func() {
		defer theirs.Close()
		requests := json.NewDecoder(theirs)
		for _, answers := range []string{
			`{"QMP": {"version": {}}} {"return": {}}`,
			`{"event": "STOP"} {"return": "00000000fed000f0: 0x00000000041d6fb7\r\n"}`,
			`{"error": {"class": "GenericError", "desc": "no space"}}`,
		} {
			var request map[string]any
			if requests.Decode(&request) != nil {
				return
			}
			io.WriteString(theirs, answers+"\n")
		}
	}()
	g.Expect(ours.greet()).To(Succeed())
	s := stop{monitor: ours}
	g.Expect(s.register(0xfed000f0)).To(BeEquivalentTo(0x41d6fb7))
	_, err = ours.human("savevm x")
	g.Expect(err).To(MatchError(And(ContainSubstring("savevm x"), ContainSubstring("no space"))))
	g.Expect(ours.awaitEvent("STOP")).To(MatchError(io.EOF))
}
