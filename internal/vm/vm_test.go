package vm_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/scratch"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/internal/vm"
)

// fixtureDir has the fixture, if one was built. A test that was killed leaves it to the next.
var fixtureDir *scratch.Dir

// fixture builds the program whose behaviour the tests choose; it is its own /init.
var fixture = sync.OnceValues(func() (string, error) {
	var err error
	if fixtureDir, err = scratch.Make(os.TempDir()); err != nil {
		return "", err
	}
	path := filepath.Join(fixtureDir.Path(), "fixture")
	build := exec.Command("go", "build", "-trimpath", "-o", path, "./internal/fixture")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build fixture: %w: %s", err, output)
	}
	return path, nil
})

// runnerEnv makes this test program a runner that is to be killed: see TestGuestDiesWithItsRunner.
const runnerEnv = "TCPLAB_TEST_RUNNER"

func TestMain(m *testing.M) {
	if program := os.Getenv(runnerEnv); program != "" {
		hangInGuest(program)
		os.Exit(1)
	}
	status := m.Run()
	if fixtureDir != nil {
		_ = fixtureDir.Remove()
	}
	os.Exit(status)
}

// newBase makes a base with the fixture as /init, or skips where there is no guest to be had. Its state stays in no cache.
func newBase(t testing.TB, change func(*vm.Config)) *vm.Base {
	t.Helper()
	testenv.BootsGuests(t)
	need := func(err error) {
		if errors.Is(err, vm.ErrNoQEMU) || errors.Is(err, vm.ErrNoKernel) {
			testenv.Need(t, err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	kernel, err := cachedKernel(t.Context())
	need(err)
	program, err := fixture()
	need(err)
	config := vm.Config{Kernel: kernel, Init: program}
	if change != nil {
		change(&config)
	}
	base, err := vm.NewBase(config)
	need(err)
	t.Cleanup(func() { base.Close() })
	return base
}

// newImage makes an image with the fixture as its program.
func newImage(t testing.TB, base *vm.Base, change func(*vm.Contents)) *vm.Image {
	t.Helper()
	program, err := fixture()
	if err != nil {
		t.Fatal(err)
	}
	contents := vm.Contents{Program: program}
	if change != nil {
		change(&contents)
	}
	image, err := base.Image(contents)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { image.Close() })
	return image
}

// cachedKernel is the kernel that is taken without a name, if nothing has to be downloaded for it.
func cachedKernel(ctx context.Context) (*vm.GuestKernel, error) {
	cache, err := vm.CacheDir()
	if err != nil {
		return nil, err
	}
	if _, err := vm.CachedKernel(cache); err != nil {
		return nil, err
	}
	return vm.FindKernel(ctx, vm.KernelOptions{})
}

func TestProgramStatusOutputAndEnvironment(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	image := newImage(t, newBase(t, nil), nil)
	var output bytes.Buffer
	result, err := image.Run(t.Context(), vm.Job{
		Args: []string{"environment", "two words", ""}, Env: []string{"FIXTURE=a b"}, Seed: 1, Output: &output,
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.ExitCode).To(Equal(0))
	g.Expect(output.String()).To(Equal("a b [two words ]\n"))
	emulator, err := vm.FindQEMU()
	g.Expect(err).NotTo(HaveOccurred())
	if emulator.Doubt() == "" {
		g.Expect(result.Flaw).To(BeEmpty(), "a version that was taken for sound")
	}

	result, err = image.Run(t.Context(), vm.Job{Args: []string{"exit", "7"}, Seed: 1})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.ExitCode).To(Equal(7))

	result, err = image.Run(t.Context(), vm.Job{Args: []string{"kill-self"}, Seed: 1})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.ExitCode).To(Equal(-1))
	g.Expect(result.Signal).To(Equal("killed"))
}

func TestArtefactsComeOut(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dir := t.TempDir()
	result, err := newImage(t, newBase(t, nil), nil).Run(t.Context(), vm.Job{Args: []string{"artefacts"}, Seed: 1, Artefacts: dir})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.ExitCode).To(Equal(0))
	large, err := os.ReadFile(filepath.Join(dir, "deep", "large"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(bytes.Equal(large, bytes.Repeat([]byte("tcplab\n"), 1<<20))).To(BeTrue())
	empty, err := os.ReadFile(filepath.Join(dir, "deep", "empty"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(empty).To(BeEmpty())
}

// TestSameSeedSameBytes runs the sharpest detector of divergence there is, twice side by side
// and once more with another seed.
func TestSameSeedSameBytes(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	image := newImage(t, newBase(t, nil), nil)
	outputs := make([]bytes.Buffer, 3)
	inputs := make([]vm.Inputs, 3)
	uptimes := make([]time.Duration, 3)
	var running sync.WaitGroup
	for i, seed := range []uint64{1, 1, 2} {
		running.Go(func() {
			result, err := image.Run(context.Background(), vm.Job{Args: []string{"fingerprint"}, Seed: seed, Output: &outputs[i]})
			if err != nil || result.ExitCode != 0 {
				t.Errorf("seed %d: exit code %d, %v", seed, result.ExitCode, err)
			}
			inputs[i], uptimes[i] = result.Inputs, result.Uptime
		})
	}
	running.Wait()
	g.Expect(outputs[0].String()).NotTo(BeEmpty())
	g.Expect(outputs[1].String()).To(Equal(outputs[0].String()))
	g.Expect(outputs[2].String()).NotTo(Equal(outputs[0].String()))
	// The program starts at another time, too.
	g.Expect(uptimes[1]).To(Equal(uptimes[0]))
	g.Expect(uptimes[2]).NotTo(BeNumerically("~", uptimes[0], time.Millisecond))
	g.Expect(inputs[1]).To(Equal(inputs[0]))
	g.Expect(inputs[2].Key()).NotTo(Equal(inputs[0].Key()))
}

// TestKeptStateChangesNothing compares a guest that boots, the one whose state is kept on the way, and those that begin there:
// another program's, which is larger or smaller, from the cache, and without one; also with another job and another seed.
func TestKeptStateChangesNothing(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	cache := t.TempDir()
	withCache := func(c *vm.Config) { c.Cache = cache }
	program, err := fixture()
	g.Expect(err).NotTo(HaveOccurred())
	large := filepath.Join(t.TempDir(), "large") // more than there is room for beforehand
	content, err := os.ReadFile(program)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.WriteFile(large, append(content, bytes.Repeat([]byte("tcplab\n"), 4<<20)...), 0o755)).To(Succeed())
	more := func(c *vm.Contents) { c.Program, c.Include = large, []string{large + "=/opt/large"} }

	run := func(image *vm.Image, job vm.Job) (string, vm.Result) {
		var output bytes.Buffer
		job.Args, job.Output = []string{"fingerprint"}, &output
		result, err := image.Run(t.Context(), job)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(output.String()).NotTo(BeEmpty())
		result.Wall = 0
		return output.String(), result
	}
	uncached, making, using := newBase(t, nil), newBase(t, withCache), newBase(t, withCache)
	for i, change := range []func(*vm.Contents){nil, more} {
		for _, seed := range []uint64{1, 2} {
			booted, result := run(newImage(t, making, change), vm.Job{Seed: seed, Boot: true})
			g.Expect(vm.HasState(making)).To(Equal(i > 0 || seed > 1))
			for _, base := range []*vm.Base{making, making, using, uncached} {
				kept, keptResult := run(newImage(t, base, change), vm.Job{Seed: seed})
				g.Expect(kept).To(Equal(booted))
				g.Expect(keptResult).To(Equal(result))
				g.Expect(vm.HasState(base)).To(BeTrue())
			}
			g.Expect(filepath.Glob(filepath.Join(cache, "states", "*", "*", "disk"))).To(HaveLen(1))
		}
	}
	image := newImage(t, making, nil) // on another machine, for which the state is none
	result, err := image.Run(t.Context(), vm.Job{Args: []string{"exit", "3"}, MemoryMiB: 600})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.ExitCode).To(Equal(3))
}

func TestInputsTellJobsApart(t *testing.T) {
	g := NewWithT(t)
	image := newImage(t, newBase(t, nil), nil)
	keys := map[string]string{}
	for name, job := range map[string]vm.Job{
		"plain":  {Args: []string{"a"}},
		"args":   {Args: []string{"b"}},
		"env":    {Args: []string{"a"}, Env: []string{"X=1"}},
		"seed":   {Args: []string{"a"}, Seed: 1},
		"memory": {Args: []string{"a"}, MemoryMiB: 600},
		"speed":  {Args: []string{"a"}, MIPS: 250},
	} {
		inputs, err := image.Inputs(job)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(keys).NotTo(HaveKey(inputs.Key()), name)
		keys[inputs.Key()] = name
	}
}

// An idle minute is free: QEMU skips to the next timer.
func TestIdleTimeIsSkipped(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	image := newImage(t, newBase(t, nil), nil)
	result, err := image.Run(t.Context(), vm.Job{Args: []string{"idle", "600s"}, Seed: 1})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.Virtual).To(BeNumerically(">", 600*time.Second))
	g.Expect(result.Wall).To(BeNumerically("<", result.Virtual/2), "600 idle seconds were waited for, not skipped")
}

func TestGuestsThatFail(t *testing.T) {
	t.Parallel()
	image := newImage(t, newBase(t, nil), nil)
	for _, c := range []struct {
		name string
		job  vm.Job
		kind error
		says string // part of the error
	}{
		{"panic", vm.Job{Args: []string{"panic-kernel"}}, vm.ErrPanic, "sysrq triggered crash"},
		{"out of memory", vm.Job{Args: []string{"eat-memory"}}, vm.ErrOutOfMemory, "Out of memory"},
		{"never ready", vm.Job{Args: []string{"exit", "0"}, ReadyLimit: time.Millisecond}, vm.ErrNotReady, ""},
		// Too small for the kernel and its initramfs.
		{"too little memory", vm.Job{Args: []string{"exit", "0"}, MemoryMiB: 64, ReadyLimit: 20 * time.Second}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			_, err := image.Run(t.Context(), c.job)
			var failure *vm.GuestError
			g.Expect(errors.As(err, &failure)).To(BeTrue(), "%v", err)
			if c.kind != nil {
				g.Expect(err).To(MatchError(c.kind))
			}
			g.Expect(err.Error()).To(ContainSubstring(c.says))
		})
	}
}

// A guest that does not end says how far it came and what ran in it: whether its program sleeps, runs, or waits for what
// never comes, and also if it began where another guest had booted.
func TestGuestsThatDoNotEnd(t *testing.T) {
	base := newBase(t, nil)
	image := newImage(t, base, nil)
	well, err := image.Run(t.Context(), vm.Job{Args: []string{"exit", "0"}, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	limit := max(20*time.Second, 8*well.Wall.Round(time.Second)) // time enough to come so far, on a busy machine, too
	for _, c := range []struct{ behaviour, state, goroutine, child string }{
		{"hang", "program (", "main.behave", ""},
		{"spin", "running", "goroutine 1", ""},
		{"deadlock", "program (", "os/exec.(*Cmd).Wait", "main.behave"},
	} {
		t.Run(c.behaviour, func(t *testing.T) {
			g := NewWithT(t)
			var output bytes.Buffer
			result, err := image.Run(t.Context(), vm.Job{
				Args: []string{c.behaviour}, Seed: 1, WallLimit: limit, Output: &output,
			})
			t.Logf("%v\n%s\n%s", err, result.Processes, output.String())
			g.Expect(err).To(MatchError(vm.ErrTimeout))
			g.Expect(err).To(MatchError(ContainSubstring(fmt.Sprintf("stopped after %v of real time, which --limit allows; its clock had come to ", limit))))
			g.Expect(err).To(MatchError(ContainSubstring("what ran: program (")))
			g.Expect(err).To(MatchError(ContainSubstring(c.state)))
			g.Expect(output.String()).To(And(ContainSubstring("SIGQUIT"), ContainSubstring(c.goroutine)))
			g.Expect(string(result.Processes)).To(And(
				HavePrefix("The guest's clock was at "), ContainSubstring("MemAvailable"), ContainSubstring("/tcplab/program "+c.behaviour),
			))
			if c.child != "" {
				g.Expect(string(result.Processes)).To(And(ContainSubstring("last on standard error of "), ContainSubstring(c.child)))
			}
			g.Expect(vm.HasState(base)).To(BeTrue())
		})
	}
}

// Files that the host cannot take, a file without end and a full disk are said, and cost neither the status nor other files.
func TestGuestsThatLeaveTooMuch(t *testing.T) {
	g := NewWithT(t)
	image := newImage(t, newBase(t, nil), nil)
	run := func(behaviour string) (vm.Result, string) {
		dir := t.TempDir()
		result, err := image.Run(t.Context(), vm.Job{Args: []string{behaviour}, Seed: 1, Artefacts: dir})
		g.Expect(err).NotTo(HaveOccurred())
		return result, dir
	}
	result, dir := run("strange-files")
	g.Expect(result.ExitCode).To(BeZero())
	g.Expect(result.Full).To(BeEmpty())
	g.Expect(filepath.Join(dir, "good")).To(BeARegularFile())
	var names []string
	for _, lost := range result.Lost {
		names = append(names, lost.Name)
	}
	g.Expect(names).To(ConsistOf("new\nline", "back\\slash", "bell\a", "\xff"))

	result, dir = run("sparse-file")
	g.Expect(result.ExitCode).To(BeZero())
	g.Expect(result.Lost).To(ConsistOf(And(HaveField("Name", "sparse"), HaveField("Reason", HavePrefix("has 1099511627776 bytes")))))
	g.Expect(filepath.Join(dir, "sparse")).NotTo(BeAnExistingFile())

	result, _ = run("fill-disk")
	g.Expect(result.ExitCode).To(Equal(1))
	g.Expect(result.Full).To(MatchRegexp(`^the guest's file system / is full: 2\d\d MiB$`))
}

func TestCancelStopsTheGuest(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	image := newImage(t, newBase(t, nil), nil)
	ctx, cancel := context.WithCancel(t.Context())
	output := &notifier{seen: cancel}
	_, err := image.Run(ctx, vm.Job{Args: []string{"hang"}, Output: output})
	g.Expect(err).To(MatchError(context.Canceled))
}

// notifier calls seen at the first output.
type notifier struct {
	once sync.Once
	seen func()
}

func (n *notifier) Write(p []byte) (int, error) {
	n.once.Do(n.seen)
	return len(p), nil
}

func TestIncludeTakesLibrariesAlong(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	program, err := exec.LookPath("xz") // links to liblzma, libc and others
	if err != nil {
		t.Skip("needs xz, a dynamically linked program to include")
	}
	text := filepath.Join(t.TempDir(), "text")
	g.Expect(os.WriteFile(text, []byte("included\n"), 0o644)).To(Succeed())
	image := newImage(t, newBase(t, nil), func(c *vm.Contents) {
		c.Program = program
		c.Include = []string{text + "=/etc/included"}
	})
	var output bytes.Buffer
	result, err := image.Run(t.Context(), vm.Job{Args: []string{"--version"}, Seed: 1, Output: &output})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.ExitCode).To(Equal(0))
	g.Expect(output.String()).To(ContainSubstring("liblzma"))

	image = newImage(t, newBase(t, nil), func(c *vm.Contents) { c.Include = []string{text + "=/etc/included"} })
	output.Reset()
	_, err = image.Run(t.Context(), vm.Job{Args: []string{"show", "/etc/included"}, Seed: 1, Output: &output})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output.String()).To(Equal("included\n"))
}

func TestBuildRefusesWhatIsNotThere(t *testing.T) {
	g := NewWithT(t)
	_, err := vm.NewBase(vm.Config{})
	g.Expect(err).To(MatchError(vm.ErrNoKernel))
	program, err := fixture()
	g.Expect(err).NotTo(HaveOccurred())
	base := newBase(t, nil) // skips where there is no kernel
	kernel, err := cachedKernel(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	_, err = vm.NewBase(vm.Config{Kernel: kernel, Init: program, Modules: []string{"no_such_module"}})
	g.Expect(err).To(MatchError(vm.ErrNoModule))
	_, err = base.Image(vm.Contents{Program: "/no/such/program"})
	g.Expect(err).To(MatchError(os.ErrNotExist))
	_, err = base.Image(vm.Contents{Program: program, Include: []string{"/no/such/file"}})
	g.Expect(err).To(MatchError(os.ErrNotExist))
}

// hangInGuest runs a guest that never ends, and passes on its output.
func hangInGuest(program string) {
	kernel, err := cachedKernel(context.Background())
	if err != nil {
		panic(err)
	}
	base, err := vm.NewBase(vm.Config{Kernel: kernel, Init: program})
	if err != nil {
		panic(err)
	}
	image, err := base.Image(vm.Contents{Program: program})
	if err != nil {
		panic(err)
	}
	_, err = image.Run(context.Background(), vm.Job{Args: []string{"hang"}, Output: os.Stdout})
	panic(err)
}

func TestGuestDiesWithItsRunner(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	newBase(t, nil) // skips where there is no guest to be had
	program, err := fixture()
	g.Expect(err).NotTo(HaveOccurred())
	temporary := t.TempDir()
	runner := exec.Command(os.Args[0])
	runner.Env = append(os.Environ(), runnerEnv+"="+program, "TMPDIR="+temporary)
	output, err := runner.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(runner.Start()).To(Succeed())
	t.Cleanup(func() { runner.Process.Kill() })
	line, err := bufio.NewReader(output).ReadString('\n')
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(line).To(Equal("hanging\n"))
	children := childrenOf(t, runner.Process.Pid)
	g.Expect(children).NotTo(BeEmpty(), "QEMU is a child of its runner")

	g.Expect(runner.Process.Kill()).To(Succeed())
	runner.Wait()
	for _, pid := range children {
		// Whoever reaps orphans here decides when the entry goes: dead is enough.
		g.Eventually(func() bool { return isGone(pid) }).WithTimeout(10 * time.Second).Should(BeTrue())
	}
	left, err := os.ReadDir(temporary)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(left).To(BeEmpty())
}

// statField returns a field of /proc/PID/stat, counted from the state, which is 0.
func statField(pid string, n int) string {
	text, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if n >= len(fields) {
		return ""
	}
	return fields[n]
}

func childrenOf(t *testing.T, parent int) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var children []string
	for _, entry := range entries {
		if statField(entry.Name(), 1) == strconv.Itoa(parent) {
			children = append(children, entry.Name())
		}
	}
	return children
}

func isGone(pid string) bool {
	state := statField(pid, 0)
	return state == "" || state == "Z" || state == "X"
}

// The pressure on TCP's memory begins at a quarter of the guest's, or a little below: the kernel leaves out what is no memory for
// buffers (nr_free_buffer_pages).
func TestTCPHasAQuarterOfTheMemory(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	image := newImage(t, newBase(t, nil), nil)
	read := func(file string) []string {
		var output bytes.Buffer
		result, err := image.Run(t.Context(), vm.Job{Args: []string{"show", file}, Seed: 1, Output: &output})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(result.ExitCode).To(BeZero(), output.String())
		return strings.Fields(output.String())
	}
	pressure, err := strconv.Atoi(read("/proc/sys/net/ipv4/tcp_mem")[1])
	g.Expect(err).NotTo(HaveOccurred())
	meminfo := read("/proc/meminfo")
	g.Expect(meminfo[0]).To(Equal("MemTotal:"))
	total, err := strconv.Atoi(meminfo[1])
	g.Expect(err).NotTo(HaveOccurred())
	const page = 4 // KiB
	g.Expect(4 * page * pressure).To(And(BeNumerically(">", total*8/10), BeNumerically("<=", total)))
}
