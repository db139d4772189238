package vm

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/u-root/u-root/pkg/cpio"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/internal/vm/guest"
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
		a := newArchive(cpio.Newc.Writer(&out))
		g.Expect(a.addTree("/data/tree", dir, nil)).To(Succeed())
		g.Expect(a.addContent("/data/more", []byte("more"), 0o644)).To(Succeed())
		g.Expect(cpio.WriteTrailer(a.writer)).To(Succeed())
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
		a := newArchive(cpio.Newc.Writer(&out))
		g.Expect(a.addProgram("/program", program)).To(Succeed())
		g.Expect(a.addLibraries([]string{program}, nil)).To(Succeed())
		g.Expect(cpio.WriteTrailer(a.writer)).To(Succeed())
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
	whole := stream(t, guest.ReadyEntry, "", guest.ProcessesEntry, "running", guest.ArtefactPrefix+"a/b", "content", guest.StatusEntry, `{"ExitCode":3}`)
	dir := t.TempDir()
	got := readResults(bytes.NewReader(whole), dir, nil)
	g.Expect(got.status.ExitCode).To(Equal(3))
	g.Expect(string(got.processes)).To(Equal("running"))
	g.Expect(got.lost).To(BeEmpty())
	g.Expect(os.ReadFile(filepath.Join(dir, "a", "b"))).To(Equal([]byte("content")))

	// A guest that died in the middle of sending leaves what was whole, and no status.
	for _, length := range []int{0, 512, 2048 + 3, len(whole) - 1536} {
		dir := t.TempDir()
		got := readResults(bytes.NewReader(whole[:length]), dir, nil)
		g.Expect(got.status).To(BeNil(), "cut at %d", length)
		if length < 2560 {
			g.Expect(filepath.Join(dir, "a", "b")).NotTo(BeAnExistingFile())
		}
	}
}

// A guest's programs choose the names and sizes of files. What the host cannot or must not take is left out, with the reason,
// and costs neither the other files nor the status.
func TestFilesThatAreRefused(t *testing.T) {
	long := strings.Repeat("x", 256) // NAME_MAX is 255
	for name, reason := range map[string]string{
		"../evil":      "leads out of",
		"a/../../evil": "leads out of",
		"/etc/passwd":  "leads out of",
		".":            "leads out of",
		"a/..":         "leads out of",
		"new\nline":    "control character",
		"es\x1bcape":   "control character",
		"back\\slash":  "backslash",
		"\xff":         "no valid UTF-8",
		long:           "file name too long",
		"good/below":   "not a directory", // good is a file
	} {
		g := NewWithT(t)
		parent := t.TempDir()
		dir := filepath.Join(parent, "dir")
		sent := stream(t, guest.ArtefactPrefix+"good", "1", guest.ArtefactPrefix+name, "x", guest.ArtefactPrefix+"after", "2", guest.StatusEntry, `{"ExitCode":3}`)
		got := readResults(bytes.NewReader(sent), dir, nil)
		g.Expect(got.status).NotTo(BeNil(), "%q", name)
		g.Expect(got.lost).To(ConsistOf(And(HaveField("Name", name), HaveField("Reason", ContainSubstring(reason)))), "%q", name)
		for file, content := range map[string]string{"good": "1", "after": "2"} {
			g.Expect(os.ReadFile(filepath.Join(dir, file))).To(BeEquivalentTo(content), "%q", name)
		}
		entries, err := os.ReadDir(parent)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(entries).To(HaveLen(1))
	}
}

// A path is asked for by its shortest name, so that it cannot seem to be where it is not.
func TestFilesArePlaced(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	got := readResults(bytes.NewReader(stream(t, guest.ArtefactPrefix+"a/../b", "x")), dir, func(name string) string { return "placed/" + name })
	g.Expect(got.lost).To(BeEmpty())
	g.Expect(filepath.Join(dir, "placed", "b")).To(BeARegularFile())
}

// sparse is a tar stream with a file that claims to be as large as it likes, and is a few bytes: GNU tar's format.
func sparse(t testing.TB, size int64) []byte {
	t.Helper()
	block := make([]byte, 512)
	copy(block, guest.ArtefactPrefix+"sparse")
	copy(block[100:], "0000644\x000000000\x000000000\x0000000000000\x0000000000000\x00        S")
	copy(block[257:], "ustar  \x00")
	copy(block[398:], "00000000000")            // the map's only entry: nothing, at the end
	binary := func(field []byte, value int64) { // GNU's for what is too large for octal digits
		field[0] = 0x80
		for i := range 8 {
			field[len(field)-1-i] = byte(value >> (8 * i))
		}
	}
	binary(block[386:398], size)
	binary(block[483:495], size)
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
	return append(block, stream(t, guest.StatusEntry, `{}`)...)
}

func TestFilesThatAreTooMuch(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	got := readResults(bytes.NewReader(sparse(t, 1<<50)), dir, nil)
	g.Expect(got.lost).To(Equal([]guest.Lost{{Name: "sparse", Reason: "has 1125899906842624 bytes, and all files together may have 1073741824"}}))
	g.Expect(got.status).NotTo(BeNil())
	g.Expect(filepath.Join(dir, "sparse")).NotTo(BeAnExistingFile())
	got = readResults(bytes.NewReader(sparse(t, 1<<16)), dir, nil)
	g.Expect(got.lost).To(BeEmpty())
	g.Expect(os.ReadFile(filepath.Join(dir, "sparse"))).To(Equal(make([]byte, 1<<16)))

	// All that is lost is counted, and some of it named.
	var entries []string
	for i := range maxArtefactFiles + 2*maxLost {
		entries = append(entries, guest.ArtefactPrefix+strconv.Itoa(i), "")
	}
	got = readResults(bytes.NewReader(stream(t, entries...)), t.TempDir(), nil)
	g.Expect(got.lost).To(HaveLen(maxLost))
	g.Expect(got.lost[0].String()).To(Equal(`"10000": there are more than 10000 files`))
	g.Expect(got.lost[maxLost-1].Reason).To(HaveSuffix("; and 10 more are not named"))
}

func FuzzReadResults(f *testing.F) {
	f.Add(stream(f, guest.ReadyEntry, "", guest.ArtefactPrefix+"a", "x", guest.StatusEntry, `{}`))
	outside := f.TempDir()
	inside := filepath.Join(outside, "inside")
	f.Fuzz(func(t *testing.T, sent []byte) {
		readResults(bytes.NewReader(sent), inside, nil)
		entries, err := os.ReadDir(outside)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) > 1 {
			t.Errorf("wrote outside: %v", entries)
		}
		if err := os.RemoveAll(inside); err != nil {
			t.Fatal(err)
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
		{"too long, and said what ran", ending{kind: ErrTimeout}, &guest.Status{ExitCode: -1, Stopped: "program"}, "", ErrTimeout},
		{"too much", ending{kind: ErrTooMuch}, nil, "", ErrTooMuch},
		{"no room", ending{detail: "no status", hostFull: "no status"}, nil, "", ErrHostFull},
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

// fakeQEMU is a monitor whose QEMU prints one of these answers to each command, and tells which commands those were. It shows what is typed as
// QEMU does, and ends after its last answer.
func fakeQEMU(t *testing.T, answers ...string) (*monitor, func() []string) {
	t.Helper()
	return fakeMonitor(t, func(theirs *os.File, command func(string)) {
		io.WriteString(theirs, "QEMU 10.0.2 monitor - type 'help' for more information\r\n"+hmpPrompt)
		lines := bufio.NewScanner(theirs)
		for _, answer := range answers {
			if !lines.Scan() {
				return
			}
			command(lines.Text())
			io.WriteString(theirs, "i\x1b[K\x1b[D"+lines.Text()+"\x1b[K\r\n"+answer+hmpPrompt)
		}
	})
}

// fakeMachine is the same with the machine protocol, for those who await events.
func fakeMachine(t *testing.T, answers ...string) (*monitor, *qmp, func() []string) {
	t.Helper()
	ours, commands := fakeMonitor(t, func(theirs *os.File, command func(string)) {
		requests := json.NewDecoder(theirs)
		for _, answer := range answers {
			var request struct {
				Execute   string
				Arguments struct {
					Line string `json:"command-line"`
				}
			}
			if requests.Decode(&request) != nil {
				return
			}
			command(cmp.Or(request.Arguments.Line, request.Execute))
			io.WriteString(theirs, answer+"\n")
		}
	})
	return ours, ours.withEvents(), commands
}

func fakeMonitor(t *testing.T, speak func(theirs *os.File, command func(string))) (*monitor, func() []string) {
	t.Helper()
	ours, theirs, err := newMonitor()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ours.close)
	var commands []string
	over := make(chan struct{})
	go func() {
		defer close(over)
		defer theirs.Close()
		speak(theirs, func(command string) { commands = append(commands, command) })
	}()
	return ours, func() []string { <-over; return commands }
}

// What a command prints is found behind what was typed, which is shown, and before the next prompt.
func TestMonitor(t *testing.T) {
	g := NewWithT(t)
	ours, commands := fakeQEMU(t, "it is so\r\nby (qemu) itself\r\n", "", "Error: no space\r\n")
	g.Expect(ours.greet()).To(Succeed())
	g.Expect(ours.human("is it so")).To(Equal("it is so\r\nby (qemu) itself\r\n"))
	g.Expect(ours.humanSilent("cont")).To(Succeed())
	g.Expect(ours.humanSilent("savevm x")).To(MatchError("savevm x: Error: no space"))
	_, err := ours.human("quit")
	g.Expect(err).To(And(MatchError(errMonitorGone), MatchError(ContainSubstring("quit"))))
	g.Expect(commands()).To(Equal([]string{"is it so", "cont", "savevm x"}))
}

// A QEMU that prints without end is not listened to for ever.
func TestMonitorOfATalker(t *testing.T) {
	ours, _ := fakeQEMU(t, strings.Repeat("x", hmpMost))
	NewWithT(t).Expect(ours.greet()).To(Succeed())
	_, err := ours.human("help")
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("does not prompt")))
}

// The machine protocol has the answer to a command among greetings and events, and tells of an error.
func TestMachineProtocol(t *testing.T) {
	g := NewWithT(t)
	ours, events, _ := fakeMachine(t,
		`{"QMP": {"version": {}}} {"return": {}}`,
		`{"event": "RESUME"} {"return": "it is so\r\n"}`,
		`{"error": {"class": "GenericError", "desc": "no space"}}`,
	)
	g.Expect(ours.greet()).To(Succeed())
	g.Expect(ours.human("is it so")).To(Equal("it is so\r\n"))
	_, err := ours.human("savevm x")
	g.Expect(err).To(MatchError(And(ContainSubstring("savevm x"), ContainSubstring("no space"))))
	_, err = events.awaitEvent("STOP")
	g.Expect(err).To(MatchError(io.EOF))
}

// QEMU is asked how far the guest's clock has come, and to press keys.
func TestMonitorAsksTheGuest(t *testing.T) {
	g := NewWithT(t)
	const read, unread = "portb[0x0064] = 0x1c\r\n", "portb[0x0064] = 0x1d\r\n"
	ours, commands := fakeQEMU(t,
		"{\r\n    \"tm_year\": 126,\r\n    \"tm_sec\": 5,\r\n    \"tm_hour\": 3,\r\n    \"tm_min\": 4,\r\n    \"tm_mon\": 0,\r\n    \"tm_mday\": 2\r\n}\r\n",
		"", "", unread, read, "", "", read, "", "", read, "", "", read)
	g.Expect(ours.greet()).To(Succeed())
	g.Expect(ours.greet()).To(Succeed())
	g.Expect(ours.clock()).To(Equal(27*time.Hour + 4*time.Minute + 5*time.Second))
	g.Expect(ours.interrupt()).To(Succeed())
	g.Expect(commands()).To(Equal([]string{"qom-get /machine rtc-time",
		"o /b 0x64 0xd2", "o /b 0x60 0x1d", "i /b 0x64", "i /b 0x64", "o /b 0x64 0xd2", "o /b 0x60 0x38", "i /b 0x64",
		"o /b 0x64 0xd2", "o /b 0x60 0xe0", "i /b 0x64", "o /b 0x64 0xd2", "o /b 0x60 0x53", "i /b 0x64"}))

	// A QEMU that does not answer is not waited for.
	ours.within(time.Nanosecond)
	_, err := ours.clock()
	g.Expect(err).To(MatchError(os.ErrDeadlineExceeded))
}

const leaveMemoryOut = "migrate_set_capability x-ignore-shared on"

// Only a guest that is stopped before it has come past the place is kept. Either way it goes on.
func TestStop(t *testing.T) {
	for name, c := range map[string]struct {
		events string
		kept   bool
	}{
		"in time":  {`{"event": "WATCHDOG"} {"event": "STOP"}`, true},
		"too late": {`{"event": "WATCHDOG"} {"event": "GUEST_CRASHLOADED"} {"event": "STOP"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			ours, events, commands := fakeMachine(t, `{"QMP": {}} {"return": {}}`, `{"return": ""}`, `{"event": "RESUME"} {"return": ""} `+c.events, `{"return": ""}`)
			kept := false
			start := beginning{monitor: ours, steer: func(m *monitor) error { return stopThere(m, events, func() { kept = true }) }}
			g.Expect(<-start.steered()).To(Succeed())
			g.Expect(kept).To(Equal(c.kept))
			g.Expect(commands()).To(Equal([]string{"qmp_capabilities", leaveMemoryOut, "cont", "cont"}))
		})
	}
}

// A guest whose state cannot be loaded does not go on: it would boot without a kernel. Of a QEMU that has ended nothing is heard.
func TestBeginThere(t *testing.T) {
	g := NewWithT(t)
	ours, commands := fakeQEMU(t, "", "", "")
	g.Expect(<-beginning{monitor: ours, steer: beginThere}.steered()).To(Succeed())
	g.Expect(commands()).To(Equal([]string{leaveMemoryOut, "loadvm booted", "cont"}))

	ours, commands = fakeQEMU(t, "", "Error: Snapshot 'booted' does not exist\r\n")
	g.Expect(<-beginning{monitor: ours, steer: beginThere}.steered()).To(MatchError("loadvm booted: Error: Snapshot 'booted' does not exist"))
	g.Expect(commands()).To(HaveLen(2))

	ours, _ = fakeQEMU(t)
	g.Consistently(beginning{monitor: ours, steer: beginThere}.steered(), "50ms").ShouldNot(Receive())
	g.Expect(beginning{monitor: ours}.steered()).To(BeNil())
}

func TestDoubtfulVersions(t *testing.T) {
	for version, doubtful := range map[string]bool{
		"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)":            true,
		"QEMU emulator version 8.2.2 (Debian 1:8.2.2+ds-0ubuntu1.18)":               true,
		"QEMU emulator version 9.1.0":                                               true,
		"QEMU emulator version 9.2.1 (Debian 1:9.2.1+ds-1ubuntu5)":                  false,
		"QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)":       false,
		"QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1)":                       false,
		"QEMU emulator version 99999999999999999999.1 is what nobody has published": false,
		"another program": false,
	} {
		if got := (QEMU{Version: version}).Doubt(); (got != "") != doubtful {
			t.Errorf("%s: %q", version, got)
		}
	}
}

// On a machine of another architecture apt is told to look for the guests' packages.
func TestPackagesAreForGuests(t *testing.T) {
	testenv.Program(t, "apt-config", "to compare with apt's own")
	g := NewWithT(t)
	host := filepath.Join(t.TempDir(), "apt.conf")
	g.Expect(os.WriteFile(host, []byte(`APT::Architecture "arm64"; APT::Architectures { "arm64"; };`), 0o644)).To(Succeed())
	command := exec.Command("apt-config", append([]string{"dump"}, guestPackages...)...)
	command.Env = append(os.Environ(), "APT_CONFIG="+host)
	output, err := command.Output()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(output)).To(ContainSubstring("APT::Architecture \"amd64\";\n"))
	g.Expect(string(output)).To(ContainSubstring("APT::Architectures:: \"amd64\";\n"))
}

// A program for another machine is refused when it is packed, and not by the guest when it is to run.
func TestProgramsForOtherMachines(t *testing.T) {
	g := NewWithT(t)
	own, err := os.ReadFile("/proc/self/exe")
	g.Expect(err).NotTo(HaveOccurred())
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		g.Expect(os.WriteFile(path, content, 0o755)).To(Succeed())
		return path
	}
	machine := func(number uint16) []byte { // e_machine of the ELF header
		program := bytes.Clone(own)
		binary.LittleEndian.PutUint16(program[18:], number)
		return program
	}
	const amd64, arm64 = 62, 183
	g.Expect(forGuests(write("amd64", machine(amd64)))).To(Succeed())
	g.Expect(forGuests(write("script", []byte("#!/bin/sh\n")))).To(Succeed())
	g.Expect(forGuests(write("empty", nil))).To(Succeed())
	foreign := write("arm64", machine(arm64))
	g.Expect(forGuests(foreign)).To(MatchError(ContainSubstring(foreign + " is a program for AARCH64")))
	_, err = newArchive(cpio.Newc.Writer(io.Discard)).addIncludes([]string{foreign})
	g.Expect(err).To(MatchError(ContainSubstring("AARCH64")))
	g.Expect(forGuests(filepath.Join(dir, "none"))).To(MatchError(os.ErrNotExist))
}
